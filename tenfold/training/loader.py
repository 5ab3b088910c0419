"""Batches as a pure function of the step, for random-access and for streamed data.

Update ``step`` (0-based) trains on the global samples ``step·B … step·B + B − 1``. Process r of W takes those
at positions ≡ r (mod W) of the batch, so that the global batch is the same for every number of processes.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tenfold.errors import TenfoldError
from tenfold.training.streams import numpy_generator
from tenfold.training.task import GroupedSource, MapSource, StreamSource

Source = MapSource | StreamSource | None


class Batches:
    """The micro-batches of one process.

    ``at(step)`` gives ``accumulate`` dictionaries of CPU tensors, each with "index" (b,) int64, the global
    sample numbers. A source of None gives "index" alone. Sources are read from a background thread.
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        if batch_size % (world * accumulate):
            raise ValueError(f"batch {batch_size} over {world} processes and {accumulate} rounds")
        self.source = source
        self.batch_size, self.rank, self.world, self.accumulate = batch_size, rank, world, accumulate
        if source is None:
            self._records: Any = None
        elif hasattr(source, "lanes"):
            self._records = _Stream(cast(StreamSource, source), seed, rank, world, batch_size)
        elif hasattr(source, "groups"):
            self._records = _Grouped(cast(GroupedSource, source), seed, batch_size)
        else:
            self._records = _Map(source, seed)

    def at(self, step: int) -> list[dict[str, Tensor]]:
        """The micro-batches of update ``step`` (0-based)."""
        index = step * self.batch_size + np.arange(self.rank, self.batch_size, self.world, dtype=np.int64)
        return [self._micro(part) for part in np.split(index, self.accumulate)]

    def _micro(self, index: np.ndarray) -> dict[str, Tensor]:
        batch = {} if self._records is None else dict(self._records.read(index))
        for name, tensor in batch.items():
            if len(tensor) != len(index):
                raise TenfoldError(f"the data gave {len(tensor)} rows of {name!r}, expected {len(index)}")
        return {**batch, "index": torch.from_numpy(index)}

    def ahead(self, start: int, stop: int, depth: int = 2) -> Iterator[list[dict[str, Tensor]]]:
        """``at(start) … at(stop − 1)``, read up to ``depth`` steps ahead by a background thread.

        An error of the source surfaces at its step; closing the iterator ends the thread.
        """
        slots: queue.Queue[Any] = queue.Queue(maxsize=depth)
        closed = threading.Event()

        def put(item: Any) -> None:
            while not closed.is_set():
                try:
                    slots.put(item, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def work() -> None:
            for step in range(start, stop):
                if closed.is_set():
                    return
                try:
                    batch: Any = self.at(step)
                except Exception as error:
                    put(error)
                    return
                put(batch)

        thread = threading.Thread(target=work, name="tenfold-loader", daemon=True)
        thread.start()
        try:
            for _ in range(start, stop):
                item = slots.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            closed.set()
            thread.join()


class _Map:
    """Sample i is record perm_e[i mod N] of epoch e = i div N; a batch may straddle epochs."""

    def __init__(self, source: MapSource, seed: int) -> None:
        if len(source) == 0:
            raise TenfoldError("the training data is empty")
        self.source, self.seed = source, seed
        self._orders: dict[int, np.ndarray] = {}

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch seldom touches more than two epochs
                self._orders.pop(min(self._orders))
            self._orders[epoch] = numpy_generator(self.seed, "shuffle", epoch).permutation(len(self.source))
        return self._orders[epoch]

    def read(self, index: np.ndarray) -> dict[str, Tensor]:
        epochs, positions = np.divmod(index, len(self.source))
        records = np.empty_like(index)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            records[here] = self._order(int(epoch))[positions[here]]
        return self.source.batch(records)


class _Grouped:
    """Batches of one group each (records of one shape), whatever the number of processes.

    An epoch is a shuffled list of full batches; what a group has beyond its last full batch is left out of that
    epoch (of another part in each), and a group smaller than a batch fills one by repetition."""

    def __init__(self, source: GroupedSource, seed: int, batch_size: int) -> None:
        if len(source) == 0:
            raise TenfoldError("the training data is empty")
        self.source, self.seed, self.batch_size = source, seed, batch_size
        groups = np.asarray(source.groups)
        self._members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self._length = batch_size * sum(max(1, len(members) // batch_size) for members in self._members)
        self._epoch: tuple[int, np.ndarray] | None = None

    def _order(self, epoch: int) -> np.ndarray:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = numpy_generator(self.seed, "shuffle", epoch)
            batches = []
            for members in self._members:
                shuffled = generator.permutation(members)
                if len(members) < self.batch_size:
                    shuffled = np.resize(shuffled, self.batch_size)
                full = len(shuffled) // self.batch_size * self.batch_size
                batches.append(shuffled[:full].reshape(-1, self.batch_size))
            self._epoch = epoch, generator.permutation(np.concatenate(batches)).reshape(-1)
        return self._epoch[1]

    def read(self, index: np.ndarray) -> dict[str, Tensor]:
        # All of a batch's indices lie in one epoch, whose length is a multiple of the batch.
        epoch = int(index[0]) // self._length
        return self.source.batch(self._order(epoch)[index - epoch * self._length])


class _Stream:
    """Sample i comes from lane i mod L, where it is number q = i div L; blocks of K records are shuffled.

    A lane is open only where this process owns samples of it; a block holds the undecoded records of this
    process alone, and resuming reads again from the start of the block.
    """

    def __init__(self, source: StreamSource, seed: int, rank: int, world: int, batch_size: int) -> None:
        if source.lanes < 1 or source.block < 1:
            raise TenfoldError(f"a stream needs lanes and block ≥ 1, found {source.lanes} and {source.block}")
        self.source, self.seed = source, seed
        self.rank, self.world, self.batch_size = rank, world, batch_size
        self._lanes: dict[int, _Lane] = {}

    def read(self, index: np.ndarray) -> dict[str, Tensor]:
        records = []
        for i in index.tolist():
            number, lane = divmod(i, self.source.lanes)
            if lane not in self._lanes:
                self._lanes[lane] = _Lane(self, lane)
            records.append(self._lanes[lane].record(number))
        return self.source.collate(records)

    def owns(self, lane: int, number: int) -> bool:
        position = (number * self.source.lanes + lane) % self.batch_size
        return position % self.world == self.rank


class _Lane:
    def __init__(self, stream: _Stream, lane: int) -> None:
        self.stream, self.lane = stream, lane
        self._block = -1
        self._iterator: Iterator[Any] | None = None
        self._records: dict[int, Any] = {}

    def record(self, number: int) -> Any:
        """Record ``number`` of the shuffled lane."""
        block, place = divmod(number, self.stream.source.block)
        if block != self._block:
            self._open(block)
        return self._records[place]

    def _open(self, block: int) -> None:
        source, size = self.stream.source, self.stream.source.block
        if self._iterator is None or block != self._block + 1:
            self._iterator = iter(source.read(self.lane, block * size))
        order = numpy_generator(self.stream.seed, "shuffle", self.lane, block).permutation(size)
        place_of = np.argsort(order)  # the record at offset o of the block is seen at place_of[o]
        self._records = {}
        for offset in range(size):
            try:
                record = next(self._iterator)
            except StopIteration:
                raise TenfoldError(f"lane {self.lane} of the data ended; a lane must start over") from None
            place = int(place_of[offset])
            if self.stream.owns(self.lane, block * size + place):
                self._records[place] = record
        self._block = block
