"""What an assigner gives to whom: positives by size, angle and crowd, objects with none, distances and levels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tenfold.detection.assign.priors import IGNORED, Priors
from tenfold.detection.geometry.angles import SQUARE, long_side_first
from tenfold.detection.geometry.border import Expected, read_together
from tenfold.detection.geometry.boxes import areas
from tenfold.errors import UsageError
from tenfold.nn.border import Values

SIZE_EDGES = (0.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 32.0, 64.0, math.inf)
ANGLE_EDGES = tuple(float(angle) for angle in range(0, 91, 15))
CROWD_EDGES = (1.0, 5.0, 20.0, 50.0, 100.0, math.inf)


class AuditRow(NamedTuple):
    """Objects with a value in [low, high): how many, their mean number of positives, and the share without any."""

    low: float
    high: float
    objects: int
    positives: float
    without: float


class AssignmentAudit(NamedTuple):
    """Tables by √area in pixels, by angle in degrees modulo 90 of what is no square, and by objects of the picture.

    Attributes:
        total: of all objects.
        distance: mean distance in pixels from a positive's centre to that of its object; NaN without positives.
        levels: share of each level in the positives.
    """

    total: AuditRow
    by_size: list[AuditRow]
    by_angle: list[AuditRow]
    by_crowd: list[AuditRow]
    distance: float
    levels: list[float]


def audit_assignment(
    objects: Sequence[Values], priors: Sequence[Priors], assigned: Sequence[Values]
) -> AssignmentAudit:
    """Of each picture its ``objects`` (g, 5), its priors, everywhere of as many levels, and what the assigner said.

    Raises UsageError without pictures, for lists of unequal lengths, for what are no boxes or priors, and for objects
    that a picture does not have.
    """
    every_box, owners = _checked(objects, priors, assigned)
    counts, distances, levels = [], [], torch.zeros(len(priors[0].levels), dtype=torch.float64)
    for boxes, prior, owner in zip(every_box, priors, owners, strict=True):
        rows = (owner >= 0).nonzero()[:, 0]
        counts.append(torch.bincount(owner[rows], minlength=len(boxes)).double().cpu())
        away = prior.boxes[rows, :2] - boxes[owner[rows], :2]
        distances.append(torch.linalg.vector_norm(away.double(), dim=1).cpu())
        levels += torch.bincount(prior.level[rows], minlength=len(levels)).cpu()
    every, positives, far = torch.cat(every_box).double().cpu(), torch.cat(counts), torch.cat(distances)
    crowd = torch.cat([torch.full((len(boxes),), float(len(boxes))) for boxes in every_box])
    boxes = long_side_first(every)
    long = boxes[:, 2] >= SQUARE * boxes[:, 3]
    angle = torch.remainder(torch.rad2deg(boxes[:, 4]), 90)
    return AssignmentAudit(
        _rows(torch.zeros(len(every)), positives, (0.0, math.inf))[0],
        _rows(areas(boxes).sqrt(), positives, SIZE_EDGES),
        _rows(angle[long], positives[long], ANGLE_EDGES),
        _rows(crowd, positives, CROWD_EDGES),
        float(far.mean()),
        (levels / levels.sum().clamp(min=1)).tolist(),
    )


def _checked(
    objects: Sequence[object], priors: Sequence[object], assigned: Sequence[object]
) -> tuple[list[Tensor], list[Tensor]]:
    counts = [len(column) for column in (objects, priors, assigned)]
    if not counts[0]:
        raise UsageError("there are no pictures to look at; give at least one")
    if len(set(counts)) > 1:
        raise UsageError(f"objects, priors and assigned are of {counts[0]}, {counts[1]} and {counts[2]} pictures")
    expected = {"objects": Expected.of("boxes g 5"), "assigned": Expected.of("whole n")}
    read = [read_together({"objects": o, "assigned": a}, expected) for o, a in zip(objects, assigned, strict=True)]
    levels = {len(prior.levels) if isinstance(prior, Priors) else 0 for prior in priors}
    for row, prior in zip(read, priors, strict=True):
        if not isinstance(prior, Priors) or len(levels) > 1:
            raise UsageError("priors are those of the pictures, as grid_priors makes them, of as many levels each")
        owner, count = row["assigned"], len(row["objects"])
        if len(owner) != len(prior.boxes) or bool(((owner < IGNORED) | (owner >= count)).any()):
            raise UsageError(
                f"assigned are {len(owner)} numbers, of {len(prior.boxes)} priors and {count} objects; give what "
                "assign_priors says of the same picture"
            )
    return [row["objects"] for row in read], [row["assigned"] for row in read]


def _rows(values: Tensor, positives: Tensor, edges: Sequence[float]) -> list[AuditRow]:
    place = torch.bucketize(values.double(), torch.tensor(edges[1:-1], dtype=torch.float64), right=True)
    size = len(edges) - 1
    number = torch.bincount(place, minlength=size).double()
    total = torch.bincount(place, positives, minlength=size)
    without = torch.bincount(place, (positives == 0).double(), minlength=size)
    columns = (number, total / number, without / number)
    return [
        AuditRow(low, high, int(n), mean, share)
        for low, high, n, mean, share in zip(edges[:-1], edges[1:], *(c.tolist() for c in columns), strict=True)
    ]
