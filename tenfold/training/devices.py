"""Devices and floating types by the names that people type."""

import torch

from tenfold.errors import UsageError, suggest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def device_named(name: str) -> torch.device:
    """The device called "auto" (the machine's accelerator, or else the CPU), "cpu", "cuda", "cuda:1", "mps", ...

    Raises UsageError for a name that means nothing, and for a device that this machine does not have.

    >>> device_named("cpu")
    device(type='cpu')
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device is {name!r}; expected auto, cpu, cuda, cuda:1 (its number) or mps") from None
    here = torch.accelerator.device_count() if accelerator is not None and accelerator.type == device.type else 0
    if device.type == "cpu" and not device.index:
        return torch.device("cpu")
    if (device.index or 0) >= here:
        found = f"{here} of type {device.type}" if here else "the CPU" if accelerator is None else str(accelerator)
        raise UsageError(f"device is {name!r}, but this machine has {found}; choose another, or auto")
    return device


def dtype_named(name: str) -> torch.dtype | None:
    """The floating type called "float32", "bfloat16", ...; None for "auto", which leaves a model as it is stored.

    Raises UsageError for another name."""
    if name == "auto":
        return None
    if name not in DTYPES:
        raise UsageError(f"dtype is {name!r}; expected auto, {', '.join(DTYPES)}{suggest(name, DTYPES)}")
    return DTYPES[name]
