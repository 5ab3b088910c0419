"""Small flows for tests."""

from pathlib import Path

import numpy as np
import torch

from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow
from tenfold.tarflow.weights import load_published


def random_flow(config: TarFlowConfig, seed: int = 0, spread: float = 0.3) -> TarFlow:
    """A flow whose output layers are random too, in float64 and evaluation mode."""
    torch.manual_seed(seed)
    flow = TarFlow(config).double().eval()
    with torch.no_grad():
        for block in flow.blocks:
            block.proj_out.weight.normal_(std=spread / config.width**0.5)
            block.proj_out.bias.normal_(std=0.1)
    return flow


def fixture_flow(path: Path) -> tuple[TarFlow, dict[str, torch.Tensor]]:
    """The flow of a reference fixture, and the fixture's arrays."""
    arrays = {name: torch.from_numpy(value) for name, value in np.load(path).items()}
    weights = {name[2:]: value for name, value in arrays.items() if name.startswith("w/")}
    return load_published(weights, channels=1).eval(), arrays


def linear_flow(coefficient: float, log_scale: float, tokens: int = 2, reverse: bool = False) -> TarFlow:
    """One block over ``tokens`` scalars with m_{i+1} = coefficient · u_i and a constant a, set by hand.

    The transformer layers are silenced; a wide input layer keeps u in the first two channels, which the
    pre-norm layers do not touch when their outputs are zero."""
    flow = TarFlow(TarFlowConfig(shape=(tokens, 1), width=64, blocks=1, layers=1)).double().eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
        block = flow.blocks[0]
        block.reverse = reverse
        block.proj_in.weight[0, 0] = 1.0
        block.proj_out.weight[1, 0] = coefficient
        block.proj_out.bias[0] = log_scale
    return flow
