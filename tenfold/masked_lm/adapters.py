"""Adapters of ``peft``: low-rank updates in a folder of their own, merged into the network that they are for."""

from pathlib import Path
from typing import Any

from torch import nn

from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.hub.checkpoints import read_safetensors
from tenfold.hub.tensors import listed, require_finite

ADAPTER, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def base_of(folder: Path) -> str:
    """The folder or hub id of the network that an adapter is for; a folder's name counts from the working directory, or
    else from the adapter's folder.

    Raises UsageError where the adapter names none, or is no low-rank one."""
    settings = read_json(folder / ADAPTER)
    named = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(named, str) or not named:
        raise UsageError(f"{folder / ADAPTER} names no network (base_model_name_or_path); write it there")
    if (kind := settings.get("peft_type")) != "LORA":
        raise UsageError(f"{folder / ADAPTER} is of kind {kind!r}; only LORA can be merged into its network")
    beside = folder / named
    return str(beside) if not Path(named).exists() and beside.is_dir() else named


def merged(network: nn.Module, folder: Path) -> nn.Module:
    """The network with an adapter's low-rank updates added to its weights.

    Raises UsageError where ``peft`` is missing, for weights that are pickled or not there, and, listing them, for
    tensors that are missing, extra or of another shape."""
    try:
        from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    except ImportError:
        raise UsageError("an adapter needs the package peft, which is missing: pip install 'tenfold[lm]'") from None
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"{folder} has no {WEIGHTS}; save the adapter with safe_serialization=True")
    tensors = read_safetensors(folder / WEIGHTS)
    for name, tensor in tensors.items():
        require_finite(name, tensor, folder)
    try:
        settings = PeftConfig.from_pretrained(str(folder))
        settings.inference_mode, settings.base_model_name_or_path = True, None  # the network is here
        wrapped: Any = get_peft_model(network, settings)
        found: Any = set_peft_model_state_dict(wrapped, tensors)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the adapter in {folder} does not fit {type(network).__name__}: {reason}") from None
    own = [name for name, parameter in wrapped.named_parameters() if "lora_" in name or "modules_to_save" in name]
    missing, extra = sorted(set(found.missing_keys) & set(own)), sorted(found.unexpected_keys)
    if missing or extra:
        wrong = "; ".join(
            f"{what} {listed(names)}" for what, names in (("missing", missing), ("extra", extra)) if names
        )
        raise UsageError(f"the adapter in {folder} does not fit {type(network).__name__}: {wrong}")
    merged: nn.Module = wrapped.merge_and_unload()
    return merged.requires_grad_(True)
