"""The sampler as a stream: uniform, resumable, split over processes, and bit for bit its formulas."""

import json

import numpy as np
import pytest
from scipy import stats

from tenfold.errors import UsageError
from tenfold.shifts import ShiftSampler
from tenfold.shifts.sampler import MODES


@pytest.mark.parametrize("mode", MODES)
def test_resumed_equals_uninterrupted(mode):
    whole = ShiftSampler(mode=mode, seed=3)
    batches = [whole.next(12) for _ in range(6)]
    first = ShiftSampler(mode=mode, seed=3)
    for _ in range(3):
        first.next(12)
    second = ShiftSampler(mode=mode, seed=3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert all(np.array_equal(second.next(12), b) for b in batches[3:])


@pytest.mark.parametrize("mode", MODES)
def test_ranks_make_up_the_single_stream(mode):
    whole = ShiftSampler(mode=mode, seed=1)
    samplers = [ShiftSampler(mode=mode, seed=1) for _ in range(3)]
    for _ in range(3):
        batch = whole.next(10)
        for rank, sampler in enumerate(samplers):
            assert np.array_equal(sampler.next(10, rank, 3), batch[rank::3])


@pytest.mark.parametrize("mode", MODES)
def test_chi_square_uniformity(mode):
    points = np.concatenate([ShiftSampler(mode=mode, seed=s).next(8)[s % 8] for s in range(500)])
    counts = np.bincount((points * 20).astype(int), minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_vdm_is_its_formula_bit_for_bit():
    sampler = ShiftSampler(mode="vdm", seed=5)
    for number in range(4):
        points = sampler.next(16)[:, 0]
        u0 = points[0]
        assert np.array_equal(points, (u0 + np.arange(16) / 16) % 1.0)
        assert number == sampler.state_dict()["batches"] - 1


def test_kronecker_batches_of_changing_size_are_one_sequence():
    sampler, whole = ShiftSampler(2, "kronecker", 4), ShiftSampler(2, "kronecker", 4)
    parts = [sampler.next(n) for n in (3, 5, 8)]
    assert np.array_equal(np.concatenate(parts), whole.next(16))
    assert not np.array_equal(ShiftSampler(2, "kronecker", 4, "sqrt2,sqrt3").next(16), whole.batch(0, 16))


def test_sobol_fills_dyadic_boxes():
    points = ShiftSampler(2, "sobol", 2).next(64)
    cells = {(int(x * 8), int(y * 8)) for x, y in points}
    assert len(cells) == 64


def test_gaussian_and_single_precision():
    sampler = ShiftSampler(3, "kronecker", 0)
    normal = sampler.gaussian(4096)
    assert np.isfinite(normal).all()
    assert np.abs(normal.mean(axis=0)).max() < 0.01
    assert np.abs(normal.std(axis=0) - 1).max() < 0.01
    single = ShiftSampler(1, "iid", 0).next(1000, dtype=np.float32)
    assert single.dtype == np.float32
    assert single.max() < 1
    assert np.isfinite(ShiftSampler(1, "iid", 0).gaussian(1000, dtype=np.float32)).all()


def test_torch_output():
    tensor = ShiftSampler(2, "kronecker", 0).next(8, dtype=np.float32, device="cpu")
    assert str(tensor.dtype) == "torch.float32"
    assert tuple(tensor.shape) == (8, 2)


def test_refusals():
    sampler = ShiftSampler(mode="vdm_stream")
    sampler.next(8, 0, 2)
    with pytest.raises(UsageError, match="batches of 8 on 2 processes"):
        sampler.next(16, 0, 2)
    with pytest.raises(UsageError, match="cannot go on with 8 on 4"):
        sampler.next(8, 0, 4)
    other = ShiftSampler(mode="vdm_stream")
    other.load_state_dict(sampler.state_dict())
    with pytest.raises(UsageError, match="keep both"):
        other.next(8)
    with pytest.raises(UsageError, match="the state has mode 'vdm_stream'"):
        ShiftSampler(mode="iid").load_state_dict(sampler.state_dict())
    with pytest.raises(UsageError, match="lacks"):
        other.load_state_dict({"mode": "iid"})
    with pytest.raises(UsageError, match="dtype"):
        sampler.next(8, 0, 2, dtype=np.int32)
    with pytest.raises(UsageError, match="has no frequency"):
        ShiftSampler(mode="iid", frequency="golden")
    with pytest.raises(UsageError, match="has 2 components, but dim is 1"):
        ShiftSampler(1, "kronecker", frequency="cubic")
