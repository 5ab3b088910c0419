"""Models that read texts, of whatever system, or of transformers alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.api.runs import open_source
from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from tenfold.text.language_model import LanguageModel


def open_language_model(
    source: str | os.PathLike[str], order: str | None = None, device: str = "auto", dtype: str = "auto"
) -> LanguageModel:
    """What gives each token of a text its probability: a run or a model folder of a system whose models do so, or a
    stock causal model of transformers ("smollm2", a folder, a ``.gguf`` file, a hub id).

    Args:
        source: where it is.
        order: "l2r" or "r2l"; None for the model's own, of a stock model "l2r".
        device: "auto" is the accelerator, or else the CPU.
        dtype: of the weights; "auto" leaves them as they are, of a stock model float32.

    Raises UsageError for systems whose models do not read token by token, and an order in which a model was not
    trained."""
    from tenfold.training.devices import device_named, dtype_named

    if order not in (None, "l2r", "r2l"):
        raise UsageError(f"order is {order!r}; expected l2r or r2l")
    path = Path(source)
    if path.is_dir() and (RunFolder(path).holds_run() or _is_ours(path)):
        opened = open_source(path, device, dtype)
        task: Any = opened.trained()
        if not hasattr(task, "reader"):
            raise UsageError(
                f"{source} is a model of {opened.system}, which gives tokens no probabilities one by one; give a model "
                "that reads texts"
            )
        found: LanguageModel = task.reader(order)
        return found
    from tenfold.text.causal import open_causal

    return open_causal(os.fspath(source), order or "l2r", device_named(device), dtype_named(dtype))


def _is_ours(folder: Path) -> bool:
    from tenfold.hub.folders import OURS

    config = folder / "config.json"
    file = read_json(config) if config.is_file() else {}
    return isinstance(file, dict) and (OURS in file or "tenfold_version" in file)
