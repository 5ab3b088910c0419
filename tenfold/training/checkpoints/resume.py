"""What may change when a run is resumed, and what a change means."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from tenfold.errors import UsageError
from tenfold.runs.run_folder import versions
from tenfold.training.config import TrainingConfig
from tenfold.training.parallel import World

FREE = frozenset({"steps", "log_every", "validate_every", "checkpoint_every", "keep_last", "tracker"})
"""Settings that a resumed run may change. ``steps`` also stretches the cosine of the learning rate, so that
an extended run equals no run that was longer from the start; the others leave the weights' course alone."""

INEXACT = frozenset({"accumulate", "compile", "activation_checkpointing"})
"""Settings that change rounding only: they need ``allow_inexact``, like another number of processes or
threads, another way to be parallel, or other data."""

_FLAG = "pass --allow-inexact to go on without bit-exactness"


def circumstances(config: TrainingConfig, world: World, fingerprint: str) -> dict[str, Any]:
    """What a checkpoint stores to judge a later resume by."""
    return {
        "config": asdict(config),
        "processes": world.size,
        "parallel": world.mode,
        "threads": torch.get_num_threads(),
        "device": world.device.type,
        "fingerprint": fingerprint,
        "versions": versions(),
    }


def check(saved: Mapping[str, Any], now: Mapping[str, Any], step: int, allow_inexact: bool, folder: str) -> list[str]:
    """Notes for the user about a resume at ``step``; UsageError when a difference is not allowed.

    ``saved`` and ``now`` are ``circumstances`` of the checkpoint and of this process.
    """
    notes: list[str] = []
    inexact: list[str] = []
    for field, new in now["config"].items():
        old = saved["config"].get(field, new)
        new = list(new) if isinstance(new, tuple) else new
        if old == new or field in ("parallel", "threads"):  # their effect is compared below
            continue
        if field in INEXACT:
            inexact.append(f"train.{field} was {old} and is {new}")
        elif field not in FREE:
            raise UsageError(
                f"train.{field} of {folder} is {old}, not {new}, and cannot change on resume; "
                f"leave it out (what can: {', '.join(sorted(FREE))})"
            )
        elif field == "steps":
            notes.append(f"train.steps was {old} and is {new}: the learning rate follows a new cosine")
    if step > now["config"]["steps"]:
        raise UsageError(
            f"{folder} is at step {step}, beyond train.steps {now['config']['steps']}; give at least {step}"
        )
    labels = {"processes": "the number of processes", "threads": "the number of threads"}
    for key in ("processes", "parallel", "threads", "device", "fingerprint"):
        if saved[key] != now[key]:
            label = {"fingerprint": "the data's fingerprint"}.get(key, labels.get(key, key))
            inexact.append(f"{label} was {saved[key]} and is {now[key]}")
    if inexact and not allow_inexact:
        raise UsageError(f"resuming {folder} would not be bit-exact: {'; '.join(inexact)}; {_FLAG}")
    changed = [
        f"{name} {old} to {now['versions'].get(name)}"
        for name, old in saved["versions"].items()
        if now["versions"].get(name) != old
    ]
    if changed:
        inexact.append(f"versions changed ({', '.join(changed)})")
    if inexact:
        notes.append(f"the resumed run is no longer bit-exact: {'; '.join(inexact)}")
    return notes


def check_settings(saved: Mapping[str, Any], now: Mapping[str, Any], folder: str) -> None:
    """UsageError when anything outside the section "train" differs from the run's ``config.yaml``. What an earlier
    version's file does not name is off."""
    old, new = _flat(saved), _flat(now)
    for name in sorted({*old, *(name for name, value in new.items() if value)}):
        if not name.startswith("train.") and old.get(name) != new.get(name):
            raise UsageError(
                f"{name} of {folder} is {old.get(name)}, not {new.get(name)}, and cannot change on resume; "
                "leave it out or start a new run"
            )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found.update(_flat(item, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = list(item) if isinstance(item, tuple) else item
    return found
