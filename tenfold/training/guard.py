"""The NaN guard: which step, and which block, first produced a value that is not finite."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tenfold.errors import TenfoldError
from tenfold.training.parallel import World

_NEVER = 2**62


class NanGuard:
    """Remembers on the device, per watched name, the first step with a value that is not finite.

    Recording costs no host-device transfer. ``raise_if_bad`` reads one small tensor: before every optimiser
    step on the CPU, where this is free, and elsewhere with the metrics and before each validation or
    checkpoint, so that no checkpoint ever holds poisoned weights; the step named is exact in both cases.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._first: dict[str, Tensor] = {}

    def watch(self, step: int, name: str, value: Tensor) -> None:
        """Note ``value`` (any shape) of update ``step`` under ``name``."""
        finite = torch.isfinite(value.detach()).all()
        never = torch.full((), _NEVER, dtype=torch.int64, device=self._device)
        now = torch.where(finite.to(self._device), never, step)
        known = self._first.get(name)
        self._first[name] = now if known is None else torch.minimum(known, now)

    def raise_if_bad(self, world: World, modules: Mapping[str, nn.Module], resume: str) -> None:
        """TenfoldError naming step and block, on every process, when anything watched was not finite."""
        if not self._first:
            return
        first = torch.stack(list(self._first.values())).cpu()
        steps = world.minimum(first).tolist()
        step = min(steps)
        if step == _NEVER:
            return
        names = [name for name, when in zip(self._first, steps, strict=True) if when == step]
        # Blocks are watched before the loss that they feed, the gradient after it: the first is the culprit.
        culprit = names[0]
        detail = _bad_gradient(modules) if culprit.startswith("gradient") else ""
        raise TenfoldError(
            f"training stopped at step {step + 1}: {culprit} is not finite{detail}; check the data or lower "
            f"train.learning_rate, and {resume}"
        )


def _bad_gradient(modules: Mapping[str, nn.Module]) -> str:
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return f" (first in {name}.{key})"
    return ""  # gone already, or inside DDP's and FSDP2's buffers
