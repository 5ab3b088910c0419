"""Folders and files of other programs, which the verbs do not take as they are: what makes model folders of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tenfold.api import catalogue
from tenfold.errors import UsageError
from tenfold.files import read_json

_AUTOENCODERS = ("AutoencoderKL", "StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline")
_LANGUAGE = ("qwen2", "llama", "Dream")


def refuse_foreign(source: str | os.PathLike[str], folder: Path) -> None:
    """Raise UsageError, which says how to convert it, for a folder of another library's model."""
    known = ("config.json", "model_index.json", "adapter_config.json")
    files = {name: _content(folder / name) for name in known if (folder / name).is_file()}
    about = files.get("config.json", {})
    if ("model_type" in about and "config" in about) or "tenfold" in about:
        return
    kinds = {str(file.get(key, "")) for file in files.values() for key in ("_class_name", "model_type")}
    if "adapter_config.json" in files and "config.json" not in files:
        raise UsageError(
            f"{source} is an adapter of peft, no model; read it with tenfold.masked_lm.MaskedLM.from_pretrained, and "
            "save what comes back"
        )
    if kinds & set(_AUTOENCODERS):
        raise UsageError(f"{source} is of diffusers; {_way('autoencoder', source)}")
    if kinds & set(_LANGUAGE):
        raise UsageError(f"{source} is of transformers; {_way('masked-lm', source)}")
    if files:
        raise UsageError(f"{source} is not from tenfold; {_way('SYSTEM', source)}, if SYSTEM is {_any()}")


def refuse_file(source: Path) -> None:
    """Raise UsageError, which says how to convert it, for a file."""
    raise UsageError(
        f"{source} is a file, not a run or a model folder; {_way('SYSTEM', source)}, if SYSTEM is {_any()}"
    )


def _way(system: str, source: str | os.PathLike[str]) -> str:
    return f"make a model folder of it with 'tenfold convert {system} {source} OUT_DIR'"


def _any() -> str:
    readable = [name for name, known in catalogue.systems().items() if known.published]
    return f"{', '.join(readable[:-1])} or {readable[-1]}"


def _content(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except UsageError:
        return {}
    return found if isinstance(found, dict) else {}
