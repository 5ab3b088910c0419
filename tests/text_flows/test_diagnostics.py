"""Numbers of states and costs, as recorded; what samples are judged by."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.text_flows import TextFlowConfig
from tenfold.text_flows.diagnostics import centroid_moves, discrete_flops, flow_flops, state_numbers


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parents[1] / "fixtures" / "text_flows" / "closed_form.npz"))


def test_states(recorded: dict[str, np.ndarray]) -> None:
    states = torch.from_numpy(recorded["stack.hidden"]).unbind(1)
    found = [torch.stack(values) for values in zip(*map(state_numbers, states), strict=True)]
    for values, name in zip(found, ("l2", "cos", "pr"), strict=True):
        np.testing.assert_allclose(values.mean(1).numpy(), recorded[f"metric.{name}"], rtol=1e-9)
    np.testing.assert_allclose(centroid_moves(states).mean(1).numpy(), recorded["metric.centroid_move"], rtol=1e-9)
    with pytest.raises(UsageError, match="states of 1 vectors"):
        state_numbers(torch.zeros(1, 1, 2))


def test_costs(recorded: dict[str, np.ndarray]) -> None:
    assert discrete_flops(1024, 768, 12, 50257).published == pytest.approx(recorded["flops.regular_gpt2"][0], rel=1e-6)
    for patch, expected in zip((1, 2, 4), recorded["flops.flow_gpt2_P1_P2_P4"], strict=True):
        # The paper counts one body of all layers and one network over channels.
        config = TextFlowConfig(
            vocabulary=50257, dim=16, patch=patch, couplings=("mix-1",), layers=(12,), components=(64,), width=768,
            heads=12, length=1024,
        )  # fmt: skip
        assert flow_flops(config).published == pytest.approx(expected, rel=1e-6)
