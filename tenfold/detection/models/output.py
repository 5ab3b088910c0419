"""What a detector says of all priors of a batch, which assignment, losses and the reading of boxes take."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.assign.priors import Predictions, Priors, grid_priors
from tenfold.detection.geometry.coder import BoxCoder
from tenfold.detection.geometry.midpoints import MidpointCoder
from tenfold.detection.geometry.points import PointCoder

CODER = BoxCoder()


class DenseOutput(NamedTuple):
    """All levels in one row.

    Attributes:
        logits: of the classes.
        deltas: of boxes from their priors; six numbers where regions are proposed, else five.
        shift: by which the centres of priors move for the assignment, in pixels; not differentiated.
        priors: the same for all pictures.
        levels: how many priors each level has.
        quality: logit of how near a prior is to its object's middle; None of heads that do not say it.
        coder: what makes boxes of priors and deltas.
        anchors: the boxes of a stage before, which stand in the place of the priors; None where there is none.
        first: what that stage said.
        given: how many of the last anchors are no proposals but the objects themselves, in training.
    """

    logits: Float[Tensor, "b n c"]
    deltas: Float[Tensor, "b n d"]
    shift: Float[Tensor, "b n 2"]
    priors: Float[Tensor, "n 5"]
    levels: tuple[int, ...]
    quality: Float[Tensor, "b n"] | None = None
    coder: BoxCoder | PointCoder | MidpointCoder = CODER
    anchors: Float[Tensor, "b n 5"] | None = None
    first: "DenseOutput | None" = None
    given: int = 0

    @property
    def proposes(self) -> bool:
        """Whether it tells objects from what is none, and not their classes."""
        return isinstance(self.coder, MidpointCoder)

    def classes_of(self, labels: Int[Tensor, "b m"]) -> Int[Tensor, "b m"]:
        """The labels as this stage tells them: all objects of class 0 where it proposes regions."""
        return labels.clamp(max=0) if self.proposes else labels

    def stands(self) -> Float[Tensor, "b n 5"]:
        """What boxes are decoded from."""
        return self.priors.expand(len(self.deltas), -1, -1) if self.anchors is None else self.anchors

    def boxes(self) -> Float[Tensor, "b n 5"]:
        """Decoded from the priors where they stand."""
        return self.coder.decoded(self.stands(), self.deltas)

    def of(self, picture: int, boxes: Float[Tensor, "b n 5"]) -> tuple[Priors, Predictions]:
        """What an assigner takes of one picture, with the ``boxes`` that were decoded."""
        priors = self.stands()[picture]
        moved = torch.cat([priors[:, :2] + self.shift[picture], priors[:, 2:]], 1)
        return Priors(priors, self.levels, moved), Predictions(self.logits[picture], boxes[picture])

    def half(self, place: int) -> "DenseOutput":
        """Of the first (0) or the last (1) half of the pictures."""
        rows = slice(place * (len(self.logits) // 2), (1 + place) * (len(self.logits) // 2))
        return self._replace(
            logits=self.logits[rows],
            deltas=self.deltas[rows],
            shift=self.shift[rows],
            quality=None if self.quality is None else self.quality[rows],
            anchors=None if self.anchors is None else self.anchors[rows],
            first=None if self.first is None else self.first.half(place),
        )

    def stages(self) -> "list[DenseOutput]":
        """One, or the first one and this."""
        return [self] if self.first is None else [self.first, self]


@runtime_checkable
class SaidOfLevel(Protocol):
    """What heads say at one level."""

    @property
    def logits(self) -> Float[Tensor, "b c h w"]: ...

    @property
    def deltas(self) -> Float[Tensor, "b d h w"]: ...

    def shift(self, stride: int) -> Float[Tensor, "b h w 2"]: ...


def dense_output(
    levels: Sequence[SaidOfLevel], strides: Sequence[int], scale: float, offset: float = 0.0
) -> DenseOutput:
    """All levels in one row, and their priors (``grid_priors``)."""
    sizes = [(level.logits.shape[2], level.logits.shape[3]) for level in levels]
    grid = grid_priors(sizes, strides, scale, offset, levels[0].logits.device)
    shifts = [level.shift(stride).flatten(1, 2) for level, stride in zip(levels, strides, strict=True)]
    return DenseOutput(
        torch.cat([level.logits.flatten(2).mT for level in levels], 1),
        torch.cat([level.deltas.flatten(2).mT for level in levels], 1).float(),
        torch.cat(shifts, 1).float(),
        grid.boxes,
        grid.levels,
    )
