"""How tensors by name differ from the expected ones: the words of every loader. Imports no PyTorch."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first eight of them.

    >>> listed(list("abcdefghij"))
    'a, b, c, d, e, f, g, h and 2 more'
    """
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest
