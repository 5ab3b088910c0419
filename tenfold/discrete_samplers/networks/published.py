"""State dicts of the references: DNFS's transformers, LEAPS's convolutions. Every name is needed, none may be over."""

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from tenfold.discrete_samplers.networks.convolution import EquivariantConvolution
from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer
from tenfold.errors import UsageError
from tenfold.hub.checkpoints import check_finite

N = TypeVar("N", bound=nn.Module)
_PREFIXES = ("net.", "model.", "module.")


def read_transformer(state: Mapping[str, Tensor]) -> EquivariantTransformer:
    """leTF from the reference's state; sizes come from the shapes.

    Raises UsageError for names that are missing or over, and for weights that are no numbers."""
    state = _stripped(state, "vocab_embedder.embedding")
    try:
        states, hidden = state["vocab_embedder.embedding"].shape
        sites, head = state["readout.pos_embed"].shape
    except KeyError as error:
        raise UsageError(f"the state has no {error.args[0]}; it is none of a locally equivariant transformer") from None
    blocks = _count(state, r"fwd_blocks\.(\d+)\.")
    layers = _count(state, r"fwd_blocks\.\d+\.fwd_blocks\.(\d+)\.")
    network = EquivariantTransformer(sites, states, hidden, head, blocks, layers)
    return _loaded(network, state)


def read_convolution(state: Mapping[str, Tensor], height: int, width: int) -> EquivariantConvolution:
    """leConv from LEAPS's state, or from a checkpoint's whose names begin with "net."; the state does not tell the
    lattice.

    Raises UsageError as ``read_transformer`` does."""
    state = _stripped(state, "network.linear")
    try:
        linear, first = state["network.linear"], state["network.initial_conv.weight"]
    except KeyError as error:
        raise UsageError(f"the state has no {error.args[0]}; it is none of a locally equivariant convolution") from None
    stages = _count(state, r"network\.convs\.(\d+)\.")
    later = [round(state[f"network.convs.{k}.b1"].shape[1] ** 0.5) for k in range(stages)]
    states = 2 if linear.ndim == 1 else len(linear)
    network = EquivariantConvolution(height, width, states, len(first), (first.shape[-1], *later))
    return _loaded(network, state)


def _stripped(state: Mapping[str, Tensor], known: str) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if prefix + known in state:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return dict(state)


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1)


def _loaded(network: N, state: Mapping[str, Tensor]) -> N:
    own = network.state_dict()
    missing, over = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    wrong = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or over or wrong:
        raise UsageError(
            f"the state does not fit: missing {missing or 'none'}, over {over or 'none'}, of another shape "
            f"{wrong or 'none'}"
        )
    check_finite(dict(state), "the state")
    network.load_state_dict(dict(state))
    return network
