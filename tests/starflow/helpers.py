"""Small STARFlows for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenfold.nn.config import LayerConfig
from tenfold.starflow.config import StarFlowConfig
from tenfold.starflow.model import StarFlow
from tenfold.starflow.weights import load_published

SMALL = LayerConfig(width=32, head_size=32, rotary="interleaved")
# Shaped like a language model's layer: grouped keys, RMSNorm, a gate, normed queries, rotary halves.
LLM = LayerConfig(
    width=48, head_size=32, heads=2, kv_heads=1, expansion=2.0, norm="rms", feed_forward="swiglu", bias=False,
    qk_norm=True, post_norm=True, rotary="half",
)  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "starflow_text": dict(channels=4, side=8, head_size=32, text_tokens=6),
    "starflow_gemma_like": dict(channels=4, side=4, head_size=32, text_tokens=5, rotary="half"),
    "starflow_exp_nosos": dict(channels=2, side=4, head_size=32, order="R2L", soft_clip=0.0, scale="exp"),
}


def small_config(**changes: Any) -> StarFlowConfig:
    """Three blocks on 2 channels of 3x4 latents, unless changed."""
    settings: dict[str, Any] = dict(shape=(2, 3, 4), layers=(1, 1, 2), shallow=SMALL, deep=SMALL)
    return StarFlowConfig(**(settings | changes))


def random_flow(config: StarFlowConfig, seed: int = 0, spread: float = 0.3) -> StarFlow:
    """A flow whose output layers are random too, in float64 and evaluation mode; with a null text where needed."""
    torch.manual_seed(seed)
    flow = StarFlow(config).double().eval()
    with torch.no_grad():
        for block in flow.blocks:
            block.proj_out.weight.normal_(std=spread / block.layer.width**0.5)
            block.proj_out.bias.normal_(std=0.1)
    if config.text_tokens:
        flow.set_null_text(torch.randn(config.text_tokens, config.text_dim, dtype=torch.float64))
    return flow


def fixture_flow(folder: Path, case: str) -> tuple[StarFlow, dict[str, torch.Tensor]]:
    """The flow of a reference fixture, and the fixture's arrays."""
    arrays = {name: torch.from_numpy(value) for name, value in np.load(folder / "image_flows" / f"{case}.npz").items()}
    weights = {name[2:]: value for name, value in arrays.items() if name.startswith("w/")}
    return load_published(weights, **PUBLISHED[case]).eval(), arrays
