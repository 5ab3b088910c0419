"""Checkpoints that a kill cannot spoil and that nobody has to unpickle.

Tensors go through torch's distributed checkpoint with its Hugging Face (safetensors) storage, everything
else is JSON, and ``manifest.json`` has the SHA-256 of every file. A checkpoint is written to
``.writing-step-N`` and renamed to ``step-N`` when all of it has reached the disk. One in the middle of the step after
N, of which J parts are done, is ``step-N-within-J``.
"""

import hashlib
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from tenfold.errors import TenfoldError
from tenfold.files import disk_errors, fsync, full_sentence, is_full, sha256, write_json
from tenfold.hub.tensors import differences
from tenfold.training.checkpoints import tree
from tenfold.training.parallel import World, bare
from tenfold.training.task import Task

FORMAT = "tenfold-checkpoint-1"
_FILE_BYTES = 2**28
_NAME = re.compile(r"step-(\d+)(?:-within-(\d+))?")

rename = os.rename  # the moment a checkpoint comes into being; tests interrupt it


@dataclass
class State:
    """Everything that a checkpoint holds of a running training, besides the loop's own JSON values."""

    task: Task
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]
    shadow: Mapping[str, Mapping[str, Tensor]]

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Parameters and persistent buffers by module and name; they share storage with the modules."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, module in self.modules.items():
            found[name] = dict(bare(module).state_dict())
            for key, value in found[name].items():
                if not isinstance(value, Tensor):
                    raise TenfoldError(f"cannot save {name}.{key}: extra state of a module must be a tensor")
        return found

    def names(self) -> dict[int, str]:
        """Parameter names by identity."""
        return tree.parameter_names({name: bare(module) for name, module in self.modules.items()})


class SavedAt(NamedTuple):
    """When a checkpoint was written: finished steps, and finished parts of the step after them."""

    step: int
    within: int = 0

    def __str__(self) -> str:
        return f"step-{self.step}-within-{self.within}" if self.within else f"step-{self.step}"


class Unusable(Exception):
    """Why a checkpoint cannot be resumed from; a clause that names the file."""


class Checkpoints:
    """The ``checkpoints/`` folder of a run. Every method is collective."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world

    def path(self, moment: SavedAt) -> Path:
        """Where the checkpoint of a ``moment`` lives."""
        return self.folder / str(moment)

    def moments(self) -> list[SavedAt]:
        """Moments that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted(SavedAt(int(name[1]), int(name[2] or 0)) for name in names if name)

    def clean(self) -> None:
        """Remove what interrupted saves and deletions left behind."""
        with self.world.agreed():
            if self.world.main:
                for leftover in [*self.folder.glob(".writing-*"), *self.folder.glob(".removing-*")]:
                    shutil.rmtree(leftover, ignore_errors=True)

    # Saving

    def save(self, moment: SavedAt, state: State, loop: Mapping[str, Any]) -> None:
        """Write the checkpoint of a moment or leave everything as it was.

        Raises:
            TenfoldError: the disk is full, or a value cannot be saved; on every process.
        """
        step, final = moment.step, self.path(moment)
        temporary = self.folder / f".writing-{moment}"
        try:
            with self.world.agreed(), disk_errors(str(final)):
                skeleton, tensors = _split(state, self.world.rank)
                if self.world.main:
                    shutil.rmtree(temporary, ignore_errors=True)
                    temporary.mkdir(parents=True)
            described = self._described(tensors)
            task_skeletons = self.world.gather(skeleton.pop("task"))
            skeleton["task"] = {str(rank): value for rank, value in enumerate(task_skeletons)}
            self._write_tensors(temporary, tensors)
            with self.world.agreed(), disk_errors(str(final)):
                if self.world.main:
                    content = {"format": FORMAT, "step": step, "loop": dict(loop)}
                    write_json(temporary / "state.json", content | {"skeleton": skeleton, "tensors": described})
            self._write_manifest(temporary, moment)
            with self.world.agreed(), disk_errors(str(final)):
                if self.world.main:
                    self._publish(temporary, final)
        except BaseException:
            if self.world.main:
                shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _described(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        own = {place: [list(t.shape), str(t.dtype).removeprefix("torch.")] for place, t in tensors.items()}
        # Only the task's state differs between processes; the rest is the same, or shards of the same.
        others = self.world.gather({p: v for p, v in own.items() if p.startswith("task/")})
        for part in others:
            own.update(part)
        return own

    def _write_tensors(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        files = self._files_of(self._described(tensors))
        writer = HuggingFaceStorageWriter(str(folder), files, save_distributed=True)
        with _readable_failures(str(folder).replace(".writing-", "")), _quiet():
            dcp.save(_unshared(tensors), storage_writer=writer, no_dist=self.world.size == 1)

    def _files_of(self, described: Mapping[str, Any]) -> dict[str, int] | None:
        """The number of the file of every tensor: a file is made in memory, so a large checkpoint has several."""
        numbers, held = {}, 0
        for place, (shape, kind) in described.items():
            held += math.prod(shape) * getattr(torch, kind).itemsize // self.world.size
            numbers[place] = 1 + held // _FILE_BYTES
        return numbers if held > _FILE_BYTES else None

    def _write_manifest(self, folder: Path, moment: SavedAt) -> None:
        # Each process checks in a share of the files, so that large checkpoints are hashed in parallel.
        shares: dict[str, Any] = {}
        with self.world.agreed(), disk_errors(str(self.path(moment))):
            files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            for path in files[self.world.rank :: self.world.size]:
                fsync(path)
                shares[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        listed = {name: facts for share in self.world.gather(shares) for name, facts in share.items()}
        with self.world.agreed(), disk_errors(str(self.path(moment))):
            if self.world.main:
                content = {"format": FORMAT, "step": moment.step, "files": dict(sorted(listed.items()))}
                write_json(folder / "manifest.json", content | {"sha256": _digest(content)})

    def _publish(self, temporary: Path, final: Path) -> None:
        fsync(temporary)
        if final.exists():  # an unusable one, from which this run was not resumed
            rename(final, final.with_name(f".removing-{final.name}"))
        rename(temporary, final)
        fsync(self.folder)
        shutil.rmtree(final.with_name(f".removing-{final.name}"), ignore_errors=True)

    def prune(self, keep_last: int, now: SavedAt) -> None:
        """Keep the newest ``keep_last`` checkpoints of whole steps up to ``now``, the best ones that they refer to, and
        that of ``now``.

        What lies beyond ``now`` is unusable, or the run would have resumed from it: it is left alone until its step
        is written again, and takes no good one's place."""
        with self.world.agreed():
            if self.world.main:
                past = [moment for moment in self.moments() if moment <= now]
                kept = {*[moment for moment in past if not moment.within][-keep_last:], now}
                for moment in list(kept):
                    try:
                        best = json.loads((self.path(moment) / "state.json").read_text())["loop"]["best"]
                    except (OSError, ValueError, KeyError, TypeError):
                        continue  # damaged since it was written: it vouches for nothing
                    kept |= {SavedAt(best["step"])} if best else set()
                for moment in set(past) - kept:
                    # Renamed first: a kill half-way leaves no folder that looks like a truncated checkpoint.
                    doomed = self.folder / f".removing-{moment}"
                    shutil.rmtree(doomed, ignore_errors=True)
                    rename(self.path(moment), doomed)
                    shutil.rmtree(doomed, ignore_errors=True)

    # Resuming

    def newest_good(self, state: State, note: Callable[[str], None]) -> tuple[SavedAt, dict[str, Any]] | None:
        """The newest usable checkpoint: its moment and its ``state.json``; None when there is none at all.

        Raises:
            TenfoldError: there are checkpoints, but not one is whole and of this model.
        """
        shapes = {
            f"model/{name}/{key}": list(tensor.shape)
            for name, named in state.weights().items()
            for key, tensor in named.items()
        }
        chosen: SavedAt | None = None
        problems: list[str] = []
        with self.world.agreed():
            if self.world.main:
                for moment in reversed(self.moments()):
                    try:
                        _refuse_other_model(self.path(moment), verify(self.path(moment)), shapes)
                    except Unusable as problem:
                        problems.append(str(problem))
                    else:
                        chosen = moment
                        break
                if chosen is None and problems:
                    raise TenfoldError(f"{problems[0]}; {self.folder} holds no other usable checkpoint")
        chosen, problems = self.world.broadcast([chosen, problems])
        if chosen is None:
            return None
        chosen = SavedAt(*chosen)
        for text in problems:
            note(f"{text}; using {self.path(chosen).name} instead")
        return chosen, json.loads((self.path(chosen) / "state.json").read_text())

    def load(self, moment: SavedAt, saved: Mapping[str, Any], state: State) -> None:
        """Restore weights, averages, optimisers and the task's state in place, from a verified checkpoint."""
        targets: dict[str, Tensor] = {}
        names = state.names()
        for name, named in state.weights().items():
            targets.update({f"model/{name}/{key}": tensor.detach() for key, tensor in named.items()})
        for name, shadow in state.shadow.items():
            targets.update({f"ema/{name}/{key}": tensor for key, tensor in shadow.items()})
        optimizers = {}
        for name, optimizer in state.optimizers.items():
            place = f"optimizers/{name}"
            like = tree.optimizer_template(optimizer, names, place)
            skeleton = saved["skeleton"]["optimizers"].get(name)
            if skeleton is None:
                raise TenfoldError(f"{self.path(moment)} holds no state of the optimiser {name!r}")
            optimizers[name] = tree.join(skeleton, _target(saved["tensors"], targets, like))
        ranks = saved["skeleton"]["task"]
        mine = tree.join(ranks[str(self.world.rank % len(ranks))], _target(saved["tensors"], targets, {}))
        self._read(moment, targets)
        for name, optimizer in state.optimizers.items():
            tree.load_optimizer_state(optimizer, optimizers[name], names)
        state.task.load_state_dict(mine)

    def load_weights(self, moment: SavedAt, state: State) -> None:
        """Restore the weights and averages of a checkpoint in place, after checking its files."""
        with self.world.agreed():
            if self.world.main:
                try:
                    verify(self.path(moment))
                except Unusable as problem:
                    raise TenfoldError(str(problem)) from None
        targets: dict[str, Tensor] = {}
        for section, nested in (("model", state.weights()), ("ema", state.shadow)):
            for name, named in nested.items():
                targets.update({f"{section}/{name}/{key}": t.detach() for key, t in named.items()})
        self._read(moment, targets)

    def _read(self, moment: SavedAt, targets: dict[str, Tensor]) -> None:
        path = self.path(moment)
        with _readable_failures(str(path)), _quiet():
            dcp.load(targets, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=self.world.size == 1)


def _split(state: State, rank: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    names = state.names()
    optimizers = {name: tree.optimizer_state(o, names) for name, o in state.optimizers.items()}
    skeleton: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, named in state.weights().items():
        tensors.update({f"model/{name}/{key}": tensor.detach() for key, tensor in named.items()})
    for name, shadow in state.shadow.items():
        tensors.update({f"ema/{name}/{key}": tensor for key, tensor in shadow.items()})
    for section, value, place in (
        ("optimizers", optimizers, "optimizers"),
        ("task", state.task.state_dict(), f"task/{rank}"),
    ):
        skeleton[section], found = tree.split(value, place)
        tensors.update(found)
    return skeleton, tensors


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors of which no two share storage (tied weights): safetensors refuses those."""
    seen: set[int] = set()
    separate = {}
    for place, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            pointer = tensor.untyped_storage().data_ptr()
            tensor = tensor.clone() if pointer in seen else tensor.contiguous()
            seen |= {pointer} if pointer else set()
        separate[place] = tensor
    return separate


def _target(
    described: Mapping[str, Any], targets: dict[str, Tensor], like: Mapping[str, Tensor]
) -> Callable[[str], Tensor]:
    """Makes the tensor that a place is read into: sharded as its parameter where it has its shape."""

    def make(place: str) -> Tensor:
        shape, kind = described[place]
        dtype = getattr(torch, kind)
        parameter = like.get(place.rpartition("/")[0])
        if parameter is not None and list(parameter.shape) == shape:
            target = torch.zeros_like(parameter, dtype=dtype)
        elif isinstance(parameter, DTensor) and shape:
            raise TenfoldError(f"the optimiser state {place} of shape {tuple(shape)} cannot be sharded again")
        else:
            target = torch.zeros(shape, dtype=dtype)
        targets[place] = target
        return target

    return make


def verify(path: Path) -> dict[str, Any]:
    """The ``state.json`` of a whole checkpoint; Unusable, naming the file, for any other folder."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except FileNotFoundError:
        raise Unusable(f"{path} is not a tenfold checkpoint (it has no manifest.json)") from None
    except (OSError, ValueError):
        raise Unusable(f"{path / 'manifest.json'} is corrupted") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise Unusable(f"{path} is not a checkpoint of this format (found {found!r}, expected {FORMAT!r})")
    if manifest.pop("sha256", None) != _digest(manifest):
        raise Unusable(f"{path / 'manifest.json'} is corrupted (its checksum differs)")
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise Unusable(f"{file} is missing")
        if file.stat().st_size != facts["bytes"]:
            raise Unusable(f"{file} is truncated ({file.stat().st_size} bytes, expected {facts['bytes']})")
        if sha256(file) != facts["sha256"]:
            raise Unusable(f"{file} is corrupted (its SHA-256 differs from manifest.json)")
    unlisted = sorted(p.name for p in path.glob("*.safetensors") if p.name not in manifest["files"])
    if unlisted:
        raise Unusable(f"{path / unlisted[0]} is not listed in manifest.json")
    content: dict[str, Any] = json.loads((path / "state.json").read_text())
    return content


def _refuse_other_model(path: Path, saved: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> None:
    theirs = {place: facts[0] for place, facts in saved["tensors"].items() if place.startswith("model/")}
    if wrong := differences(theirs, shapes):
        raise Unusable(f"{path} is a checkpoint of another model: {wrong}".replace("model/", ""))


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def _readable_failures(what: str) -> Iterator[None]:
    """One sentence for what torch's distributed checkpoint raises, everywhere, when one process fails."""
    try:
        yield
    except CheckpointException as failure:
        causes: Iterable[tuple[int, Any]] = sorted(failure.failures.items())
        for rank, (cause, _) in causes:
            if is_full(cause):
                raise TenfoldError(full_sentence(what, cause)) from cause
            text = " ".join(str(cause).split()) or type(cause).__name__
            raise TenfoldError(f"{what} could not be written or read by process {rank}: {text}") from cause
        raise TenfoldError(f"{what} could not be written or read") from None
    except OSError as error:
        if is_full(error):
            raise TenfoldError(full_sentence(what, error)) from error
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
