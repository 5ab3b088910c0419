"""Tensors by name: how they differ from the expected ones, in the words of every loader, and published names under
ours. Imports no PyTorch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from tenfold.errors import UsageError

_LISTED = 8


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The end of an error sentence about missing, extra and mis-shaped tensors; empty where there are none. The
    values are tensors or their shapes.

    >>> differences({"a": (2,), "c": ()}, {"a": (3,), "b": (1,)})
    'missing b; extra c; a of shape (2,) instead of (3,)'
    """
    theirs, ours = ({name: tuple(getattr(t, "shape", t)) for name, t in side.items()} for side in (found, expected))
    misshaped = [
        f"{name} of shape {theirs[name]} instead of {ours[name]}"
        for name in sorted(set(theirs) & set(ours))
        if theirs[name] != ours[name]
    ]
    parts = [
        ("missing ", sorted(set(expected) - set(found))),
        ("extra ", sorted(set(found) - set(expected))),
        ("", misshaped),
    ]
    return "; ".join(f"{what}{listed(names)}" for what, names in parts if names)


def require_finite(name: str, tensor: Any, source: object) -> None:
    """Raise UsageError for a tensor of weights with NaN or an infinity in it; one pass over it, nothing is copied."""
    if tensor.numel() and tensor.is_floating_point():
        if tensor.element_size() < 2:  # eight bits have no extremes
            tensor = tensor.float()
        least, most = (float(bound) for bound in tensor.aminmax())
        if not isfinite(least) or not isfinite(most):
            raise UsageError(f"{name} of {source} holds NaN or infinity; the weights are damaged, take another copy")


_WRAPPERS = frozenset(
    (
        "module",
        "_orig_mod",
        "_forward_module",
        "_fsdp_wrapped_module",
        "model",
        "net",
        "network",
        "backbone",
        "flow",
        "autoencoder",
    )
)
_AVERAGED = frozenset(("ema", "ema_model", "model_ema", "ema_module", "averaged_model", "shadow", "ema_flow"))


def unwrapped(published: Mapping[str, Any], known: str) -> dict[str, Any]:
    """Tensors without the prefixes of what held the model when it was saved: compilation (``_orig_mod.``), parallelism
    (``module.``), a training class (``model.``, ``net.``), an average (``ema.``), in any order.

    ``known`` is a regular expression for the beginning of the names that tell a prefix. Where a file holds a model and
    its average, the model is taken; tensors beside them (a loss's, a counter) are left out.

    >>> unwrapped({"model._orig_mod.blocks.0.w": 1, "ema.blocks.0.w": 2, "loss.w": 3}, "blocks")
    {'blocks.0.w': 1}
    """
    words = r"(?:(?:" + "|".join(sorted(_WRAPPERS | _AVERAGED)) + r")\.)*"
    found = {match[1] for name in published if (match := re.match(f"({words}){known}", name))}
    if not found or found == {""}:
        return dict(published)
    prefix = min(found, key=lambda p: (not _AVERAGED.isdisjoint(p.split(".")), len(p)))
    held = not {"module", "_orig_mod"} >= set(prefix.split(".")[:-1])  # by more than a wrapper of the whole model
    state = {}
    for name, tensor in published.items():
        if name.startswith(prefix):
            state[name[len(prefix) :]] = tensor
        elif not held and re.match(f"{words}{known}", name) is None and name != "n_averaged":
            state[name] = tensor
    return state


def renamed(
    published: Mapping[str, Any], names: Iterable[tuple[str, str]], ignored: re.Pattern[str], known: str
) -> dict[str, Any]:
    """A published state dict with parts of its names replaced in order, without the tensors that match ``ignored`` and
    the prefixes of wrappers (``unwrapped``).

    >>> renamed({"module.attn.w": 1, "mask": 2}, [("attn.", "layers.")], re.compile("mask"), "attn")
    {'layers.w': 1}
    """
    state = {}
    for name, tensor in unwrapped(published, known).items():
        if ignored.fullmatch(name):
            continue
        for old, new in names:
            name = name.replace(old, new)
        state[name] = tensor
    return state


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first eight of them.

    >>> listed(list("abcdefghij"))
    'a, b, c, d, e, f, g, h and 2 more'
    """
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest
