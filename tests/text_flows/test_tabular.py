"""Tables, and densities of them."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from tenfold.text_flows import MaskedMixtures, tabular_flows
from tenfold.text_flows.examples.tables import TABLES, table
from tenfold.text_flows.examples.tabular import fit


def test_tables() -> None:
    for name in TABLES:
        one, again, other = (table(name, seed, 500) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
        assert not torch.equal(one.train, other.train)
        assert len(one.validation) == len(one.test) == len(torch.cat(one)) // 10
        assert one.train.dtype == torch.float32
        torch.testing.assert_close(one.train.mean(0), torch.zeros(one.train.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(one.train.std(0), torch.ones(one.train.shape[1]), atol=1e-4, rtol=0)
        rows = {tuple(row) for row in torch.cat(one).tolist()}
        assert len(rows) > 0.95 * len(torch.cat(one))  # splits share hardly a row


def test_a_stack_is_a_density() -> None:
    model = MaskedMixtures(2, 3, 3, hidden=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    line = torch.linspace(-12, 12, 400)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        whole = model(grid).exp().sum() * (line[1] - line[0]) ** 2
    assert float(whole) == pytest.approx(1.0, abs=2e-3)


def test_it_learns_two_clouds() -> None:
    g = torch.Generator().manual_seed(1)
    sign = torch.randint(2, (600, 1), generator=g) * 2.0 - 1
    rows = sign + 0.2 * torch.randn(600, 2, generator=g)
    torch.manual_seed(0)
    model = MaskedMixtures(2, 1, 4, hidden=16)
    with torch.no_grad():
        before = float(model(rows[500:]).mean())
        assert fit(model, rows[:500], rows[500:], 61.0, 0, itertools.count().__next__) == 60
        after = float(model(rows[500:]).mean())
    most = -math.log(2) - math.log(2 * math.pi * math.e * 0.2**2)  # of the law itself
    assert before + 0.8 < after < most + 0.2


def test_quickly(tmp_path: Path) -> None:
    pytest.importorskip("zuko")
    found = tabular_flows(tmp_path, quick=True)
    assert {row.name for row in found.rows} == {f"log_prob_{name.replace(' ', '_')}" for name in TABLES}
    assert len({row.model for row in found.rows}) == 5
    assert len(found.rows) == 15
