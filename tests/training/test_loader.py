"""Batches as a pure function of the step, for every number of processes."""

import functools
import operator
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import TenfoldError
from tenfold.training.loader import Batches
from tests.training.toys import Table, Tape


def rows(batches: Batches, steps: range, key: str) -> list[list[Any]]:
    return [[r for micro in batches.at(step) for r in micro[key].tolist()] for step in steps]


def test_map_epochs_are_permutations_that_batches_straddle() -> None:
    seen = functools.reduce(operator.iadd, rows(Batches(Table(10), 4, seed=3), range(15), "row"), [])
    epochs = [seen[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert functools.reduce(operator.iadd, rows(Batches(Table(10), 4, seed=4), range(15), "row"), []) != seen


def test_index_is_the_global_sample_number() -> None:
    index = functools.reduce(operator.iadd, rows(Batches(Table(10), 4, seed=3), range(5), "index"), [])
    assert index == list(range(20))


@pytest.mark.parametrize("source", [Table(10), Tape(lanes=4, block=5), Tape(lanes=3, block=7)])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 2), (2, 1), (4, 1), (2, 2)])
def test_the_global_batch_is_the_same_for_every_world(source: Any, world: int, accumulate: int) -> None:
    key = "row" if isinstance(source, Table) else "record"
    alone = Batches(source, 8, seed=1)
    ranks = [Batches(source, 8, 1, rank, world, accumulate) for rank in range(world)]
    for step in (0, 1, 2, 7):
        whole = alone.at(step)[0]
        expected = {int(i): r for i, r in zip(whole["index"], whole[key].tolist(), strict=True)}
        found = {}
        for rank, batches in enumerate(ranks):
            parts = batches.at(step)
            assert len(parts) == accumulate
            assert {len(p["index"]) for p in parts} == {8 // world // accumulate}
            for part in parts:
                assert (part["index"] % world == rank).all()
                found.update({int(i): r for i, r in zip(part["index"], part[key].tolist(), strict=True)})
        assert found == expected
        assert len(found) == 8


def test_stream_blocks_are_permutations_of_their_lane() -> None:
    lanes, block = 3, 5
    batches = Batches(Tape(lanes, block), 6, seed=2)
    records = functools.reduce(operator.iadd, rows(batches, range(10), "record"), [])
    for lane in range(lanes):
        positions = [position for n, (found, position) in enumerate(records) if n % lanes == lane]
        assert all(found == lane for found, _ in records[lane::lanes])
        assert len(positions) == 20
        orders = [positions[i : i + block] for i in range(0, 20, block)]
        for b, order in enumerate(orders):
            assert sorted(order) == list(range(b * block, (b + 1) * block))
        assert any(order != sorted(order) for order in orders)


def test_stream_resumes_bit_exactly_at_any_step() -> None:
    through = Batches(Tape(4, 6), 8, seed=2)
    expected = [through.at(step)[0] for step in range(12)]
    for start in range(12):
        fresh = Batches(Tape(4, 6), 8, seed=2).at(start)[0]
        assert all(torch.equal(fresh[k], expected[start][k]) for k in expected[start])


def test_a_rank_opens_and_decodes_only_what_it_owns() -> None:
    tapes = [Tape(4, 6) for _ in range(2)]
    for rank, tape in enumerate(tapes):
        batches = Batches(tape, 8, 0, rank, 2)
        for step in range(6):
            batches.at(step)
    assert [tape.opened for tape in tapes] == [{0, 2}, {1, 3}]
    assert [tape.decoded for tape in tapes] == [24, 24]


def test_no_source_gives_indices_alone() -> None:
    batch = Batches(None, 4, 0, 1, 2).at(3)
    assert len(batch) == 1
    assert list(batch[0]) == ["index"]
    assert batch[0]["index"].tolist() == [13, 15]


def test_reading_ahead_gives_the_same_and_ends_its_thread() -> None:
    batches = Batches(Table(10), 4, seed=3)
    expected = [Batches(Table(10), 4, seed=3).at(step)[0] for step in range(2, 9)]
    ahead = batches.ahead(2, 9)
    for batch, other in zip(ahead, expected, strict=True):
        assert all(torch.equal(batch[0][k], other[k]) for k in other)
    before = threading.active_count()
    partial = batches.ahead(0, 1000)
    next(partial)
    assert threading.active_count() == before + 1
    partial.close()
    assert threading.active_count() == before


class Failing(Table):
    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        if 2 in indices:
            raise OSError("record 2 is unreadable")
        return super().batch(indices)


def test_an_error_of_the_source_surfaces() -> None:
    with pytest.raises(OSError, match="record 2 is unreadable"):
        list(Batches(Failing(10), 2, 0).ahead(0, 5))


class Ending(Tape):
    def read(self, lane: int, start: int) -> Iterator[tuple[int, int]]:
        return iter([(lane, 0)])


class Short(Table):
    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        return super().batch(indices[:1])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Ending(), "lane 0 of the data ended"),
        (Short(10), "gave 1 rows of 'x', expected 4"),
        (Table(0), "is empty"),
    ],
)
def test_broken_sources(source: Any, expected: str) -> None:
    with pytest.raises(TenfoldError, match=expected):
        Batches(source, 4, 0).at(0)


class Shapes(Table):
    """Records of three groups of 9, 4 and 2; a batch of several is refused."""

    groups = np.repeat([0, 1, 2], [9, 4, 2])

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        assert len(set(self.groups[indices].tolist())) == 1
        return super().batch(indices)


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 2), (4, 1)])
def test_batches_come_from_one_group(world: int, accumulate: int) -> None:
    ranks = [Batches(Shapes(15), 4, 7, rank, world, accumulate) for rank in range(world)]
    alone = Batches(Shapes(15), 4, seed=7)
    for step in (0, 1, 2, 3, 4, 9, 3):
        whole = dict(zip(alone.at(step)[0]["index"].tolist(), alone.at(step)[0]["row"].tolist(), strict=True))
        found = {
            int(i): row
            for batches in ranks
            for part in batches.at(step)
            for i, row in zip(part["index"], part["row"].tolist(), strict=True)
        }
        assert found == whole
    # An epoch has 2 + 1 + 1 batches: all but one record of the first group, the second, and the third twice.
    epoch = functools.reduce(operator.iadd, rows(alone, range(4), "row"), [])
    assert sorted(r for r in epoch if r >= 9) == [9, 10, 11, 12, 13, 13, 14, 14]
    assert len({r for r in epoch if r < 9}) == 8
