"""How verbs of a room open any model that reads texts, those of other rooms too. Imports no PyTorch."""

from collections.abc import Callable
from typing import Any

from tenfold.errors import UsageError

OpenReader = Callable[[str, str | None, str, str], Any]
_open: OpenReader | None = None


def open_readers_by(opener: OpenReader) -> None:
    """Say how models are opened: what knows every system says it once, at the start."""
    global _open
    _open = opener


def open_reader(source: str, order: str | None = None, device: str = "auto", dtype: str = "auto") -> Any:
    """The ``tenfold.text.language_model.LanguageModel`` of a run, a model folder, a packaged name or a hub id.

    Args:
        source: where it is.
        order: "l2r" or "r2l"; None for its own.
        device: as every verb takes it.
        dtype: of the weights.

    Raises UsageError for what is no such model, and an order that it was not trained in."""
    if _open is None:
        raise UsageError("nobody said how models are opened; import tenfold.api, or give the model itself")
    return _open(source, order, device, dtype)
