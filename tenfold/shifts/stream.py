"""A sequence read batch by batch, with one counter to save."""

from typing import Any

import numpy as np
from jaxtyping import Float

from tenfold.errors import UsageError
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.scramble import Scrambled
from tenfold.shifts.skew import SkewShift


class Stream:
    """The points of a sequence in order; process ``rank`` of ``world`` takes points n ≡ rank (mod world).

    All processes advance together: a batch of B consumes B · world indices.

    >>> stream = Stream(Kronecker("golden"))
    >>> stream.next(2).ravel().round(3).tolist(), stream.state_dict()
    ([0.0, 0.618], {'counter': 2, 'world': 1})
    """

    def __init__(self, sequence: Kronecker | Scrambled | SkewShift, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is outside [0, {world})")
        self.sequence, self.rank, self.world, self.counter = sequence, rank, world, 0

    def next(self, batch: int) -> Float[np.ndarray, "{batch} dim"]:
        """The next ``batch`` points of this process."""
        if batch < 1:
            raise UsageError(f"a batch has {batch} points; expected at least 1")
        stop = self.counter + batch * self.world
        points = self.sequence.points(self.counter, stop)[self.rank :: self.world]
        self.counter = stop
        return points

    def state_dict(self) -> dict[str, int]:
        """How far the stream has come."""
        return {"counter": self.counter, "world": self.world}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved stream stopped, on any number of processes: the counter is the whole sequence's."""
        try:
            self.counter = int(state["counter"])
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{state!r} is no state of a stream; expected a dictionary with a 'counter'") from None
