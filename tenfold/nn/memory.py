"""How much memory there is, so that what does not fit is refused in a sentence before it is begun."""

import torch

from tenfold.runs import machine


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be taken on a device: of the CPU what the system, a container's limit and the process' own
    limit leave; 2^62 where nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.free_memory() if device.type == "cpu" else 1 << 62


def require(size: float, device: torch.device, what: str, fix: str) -> None:
    """Raise UsageError where ``what`` takes more than there is; ``fix`` tells what to do."""
    machine.require_memory(size, what, fix, free_bytes(device))
