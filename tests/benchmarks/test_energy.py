"""The benchmark of energies: both sides agree, and the re-created step has the rate that it should."""

import pytest
import torch

from benchmarks import energy
from benchmarks.reference_energy import pita_step, resample_each
from tenfold.smc.resampling import draw_ancestors
from tests.energy.forms import number, pair


def test_the_loop_over_populations() -> None:
    logs, numbers = torch.randn(7, 33, dtype=torch.float64), torch.rand(7, 1, dtype=torch.float64)
    found = resample_each(logs.numpy(), numbers[:, 0].numpy())
    assert torch.equal(draw_ancestors(logs, numbers), torch.from_numpy(found))


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_the_recreated_step(beta: float) -> None:
    """On an exact energy the escorted rate is ½ β (β − 1) ‖s‖², up to the size of the step."""
    a, _ = pair()
    x, sigma = a.sample(40, 1.0, seed=1), number(1.0)
    z = torch.zeros_like(x)
    moved, increment = pita_step(lambda y, s: -a.log_density(y, s), x, sigma, sigma - 1e-4, z, beta)
    v = 1 - (1 - 1e-4) ** 2
    score = a.score(x, sigma)
    expected = beta * (beta - 1) / 2 * score.square().sum(1)
    torch.testing.assert_close(increment / v, expected, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close((moved - x) / v, beta * score, atol=1e-9, rtol=1e-9)


def test_records(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Quick, and without the peer, which is an extra."""
    monkeypatch.setitem(__import__("sys").modules, "particles", None)
    records: list = []
    energy.benchmarks(True, records.append)
    names = [record.name for record in records]
    assert names[:4] == ["resampling-batched", "step-pita", "step-pita-evaluations", "overhead"]
    assert len(names) == 8
    assert records[0].max_error == 0
    assert all(record.ours > 0 and record.other > 0 for record in records)
    assert "'particles' is not installed" in capsys.readouterr().err
