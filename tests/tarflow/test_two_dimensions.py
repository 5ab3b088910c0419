"""Trained flows on two-dimensional data, where everything can be checked on a grid."""

import math

import pytest
import torch
from scipy import stats
from sklearn.datasets import make_moons

from tenfold.flows.density import log_prob
from tenfold.flows.loss import negative_log_likelihood
from tenfold.flows.sampling import sample
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow

# Wide enough for the tails: a flow of affine blocks has some mass far from the data.
AXIS = torch.linspace(-12, 12, 481)


def moons(count: int, seed: int) -> torch.Tensor:
    points, _ = make_moons(count, noise=0.08, random_state=seed)
    return ((torch.tensor(points, dtype=torch.float32) - torch.tensor([0.5, 0.25])) * 1.2).unsqueeze(-1)


def mixture(count: int, seed: int) -> torch.Tensor:
    """Two diagonal clouds: given x_0 ≈ 0, x_1 has two modes, so that one Gaussian a conditional is too few."""
    generator = torch.Generator().manual_seed(seed)
    sign = torch.randint(0, 2, (count, 1), generator=generator) * 2.0 - 1
    centre = torch.cat([torch.zeros(count, 1), 1.5 * sign], dim=1)
    return (centre + 0.35 * torch.randn(count, 2, generator=generator)).unsqueeze(-1)


def train(data: torch.Tensor, blocks: int, steps: int = 300) -> TarFlow:
    torch.manual_seed(0)
    flow = TarFlow(TarFlowConfig(shape=(2, 1), width=32, head_size=16, blocks=blocks, layers=1))
    optimizer = torch.optim.AdamW(flow.parameters(), lr=3e-3, weight_decay=1e-4)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        output = flow(data[torch.randint(len(data), (256,))])
        loss = negative_log_likelihood(output.z, output.logdet)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return flow.eval()


def grid_density(flow: TarFlow) -> torch.Tensor:
    points = torch.stack(torch.meshgrid(AXIS, AXIS, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    with torch.no_grad():
        return log_prob(flow, points).exp().view(len(AXIS), len(AXIS))


@pytest.fixture(scope="module", params=[moons, mixture], ids=["moons", "mixture"])
def trained(request):
    data = request.param
    return data, {blocks: train(data(4000, 0), blocks) for blocks in (1, 2)}


@pytest.fixture(scope="module")
def densities(trained):
    """On the grid, by number of blocks."""
    return {blocks: grid_density(flow).double() for blocks, flow in trained[1].items()}


def test_density_integrates_to_one(densities):
    for density in densities.values():
        mass = float(density.sum()) * float(AXIS[1] - AXIS[0]) ** 2
        assert abs(mass - 1) < 5e-3


def test_two_blocks_beat_one(trained):
    data, flows = trained
    held_out = data(4000, 1)
    with torch.no_grad():
        values = {blocks: float(log_prob(flow, held_out).mean()) for blocks, flow in flows.items()}
    assert values[2] > values[1] + 0.05, values


def test_samples_follow_the_density(trained, densities):
    """Chi-square of 20,000 samples on a coarse grid of cells with at least 10 expected counts."""
    _, flows = trained
    flow = flows[2]
    with torch.no_grad():
        x = sample(flow, 20_000, generator=torch.Generator().manual_seed(0))[..., 0]
    cells = 60
    width = (len(AXIS) - 1) // cells
    density = densities[2]
    # The trapezoid rule on each cell.
    weights = torch.ones(width + 1, dtype=torch.float64)
    weights[0] = weights[-1] = 0.5
    patches = density.unfold(0, width + 1, width).unfold(1, width + 1, width)
    expected = (patches * weights[:, None] * weights).sum(dim=(2, 3)) * float(AXIS[1] - AXIS[0]) ** 2 * len(x)
    index = ((x + 12) / 24 * cells).floor().long().clamp(0, cells - 1)
    observed = torch.bincount(index[:, 0] * cells + index[:, 1], minlength=cells**2).view(cells, cells).double()
    big = expected >= 10
    rest = torch.stack([expected[~big].sum(), len(x) - expected[big].sum()]).mean()
    terms = (observed[big] - expected[big]).square() / expected[big]
    statistic = float(terms.sum()) + float((observed[~big].sum() - rest) ** 2 / rest.clamp(min=1))
    assert statistic < stats.chi2.ppf(0.999, int(big.sum())), statistic
    uniform = len(x) * torch.ones_like(expected) / cells**2
    assert float(((observed - uniform).square() / uniform).sum()) > 10 * statistic  # the test can fail


def test_rsample_passes_a_gradient_check(trained):
    """d E[g(x)] / d θ through samples: against finite differences at fixed noise, in float64."""
    from tenfold.flows.solvers.reverse import rsample

    _, flows = trained
    flow = TarFlow(flows[2].config).double().eval()
    flow.load_state_dict({k: v.double() for k, v in flows[2].state_dict().items()})
    noise = torch.randn(4, 2, 1, dtype=torch.float64)
    bias = flow.blocks[1].proj_out.bias

    def value(shift: torch.Tensor) -> torch.Tensor:
        state = {"blocks.1.proj_out.bias": bias.detach() + shift}
        return torch.func.functional_call(_Sampler(flow, rsample), {f"flow.{k}": v for k, v in state.items()}, (noise,))

    assert torch.autograd.gradcheck(value, torch.zeros(2, dtype=torch.float64, requires_grad=True), atol=1e-6)


class _Sampler(torch.nn.Module):
    def __init__(self, flow, method):
        super().__init__()
        self.flow, self.method = flow, method

    def forward(self, noise):
        return self.method(self.flow, len(noise), noise=noise)
