"""Local folders, and local copies of hub repositories."""

import os
from collections.abc import Sequence
from pathlib import Path

from tenfold.errors import TenfoldError, UsageError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LAYOUTS = ((WEIGHTS, INDEX), ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json"))
"""Files of weights, and the lists of their shards, as transformers and diffusers call them."""
_WANTED = (CONFIG, *(index for _, index in LAYOUTS), "*.safetensors", "tokenizer/*")


def model_folder(source: str | os.PathLike[str], revision: str | None = None, wanted: Sequence[str] = _WANTED) -> Path:
    """The folder of the model that ``source`` names: of a run or of a stage of one (its ``model/``), a model folder
    itself, or the local copy of a hub repository (``resolve``).

    Raises UsageError for a run that is not there or not trained yet, and where ``resolve`` does."""
    folder = Path(source)
    if (folder / "model" / CONFIG).is_file():
        return folder / "model"
    if stages := sorted(str(config.parent.parent) for config in folder.glob(f"*/model/{CONFIG}")):
        raise UsageError(
            f"{folder} is a run of several stages; name the one whose model is meant: {' or '.join(stages)}"
        )
    if (folder / "config.yaml").is_file():
        raise UsageError(f"{folder} has no trained model yet; finish it with 'tenfold train --resume {folder}'")
    if folder.parts[:1] == ("runs",) and not folder.exists():  # no hub id: nobody is called "runs"
        raise UsageError(f"{source} does not exist; a run is made with 'tenfold train RECIPE --out {source}'")
    return resolve(source, revision, wanted)


def resolve(source: str | os.PathLike[str], revision: str | None = None, wanted: Sequence[str] = _WANTED) -> Path:
    """A local folder, or the local copy of those files of a hub repository that match a pattern of ``wanted``.

    Raises UsageError for what is neither, TenfoldError where the hub cannot be reached."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = str(source)
    if folder.is_absolute() or name.startswith(".") or name.count("/") != 1 or folder.parent.is_dir():
        raise UsageError(f"{name} is neither a model folder nor a hub id (owner/name)")
    return download(name, revision, wanted)


def download(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local copy of the files that match ``patterns`` in a hub repository (owner/name).

    Raises UsageError for a repository that does not exist, TenfoldError when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError:
        raise UsageError(f"{name} is neither a model folder nor a hub id (owner/name)") from None
    except HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) in (401, 403, 404):
            raise UsageError(f"the hub has no model {name!r} that this account may read") from None
        raise TenfoldError(f"{name} could not be fetched from the hub: {first_line(error)}") from None
    except (LocalEntryNotFoundError, OSError) as error:
        raise TenfoldError(
            f"{name} is no local folder and could not be fetched from the hub ({first_line(error)}); "
            "check the name and the connection, or give a folder"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says, in one line without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
