"""The policy as it was: what the penalty keeps to. Only trained weights are kept, of low-rank updates the updates
alone; before the first step these are the model with its adapter disabled. Under FSDP2 each process keeps its part."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tenfold.errors import UsageError


class ReferencePolicy:
    """A copy of the trained weights of a module that can be put into it for a while."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Become the module as it is."""
        self.weights = {name: p.detach().clone() for name, p in _trained(module)}

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """While the body runs, the module has the reference's weights. Not for a body that records gradients."""
        own = {name: p.detach().clone() for name, p in _trained(module)}
        _put(module, self.weights)
        try:
            yield
        finally:
            _put(module, own)

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return dict(self.weights)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.weights = dict(state)


def _trained(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """This process's part of what is trained, by name; it shares storage with the module."""
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    named = ((name, p) for name, p in inner.named_parameters() if p.requires_grad)
    return ((name, p.to_local() if isinstance(p, DTensor) else p.detach()) for name, p in named)


@torch.no_grad()
def _put(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    trained = dict(_trained(module))
    if set(trained) != set(weights):
        raise UsageError(f"the reference holds {len(weights)} weights, the policy trains {len(trained)}; take it again")
    for name, parameter in trained.items():
        if parameter.shape != weights[name].shape:
            raise UsageError(
                f"the reference's part of {name} has shape {tuple(weights[name].shape)}, the policy's "
                f"{tuple(parameter.shape)}; go on with as many processes as before"
            )
        parameter.copy_(weights[name])
