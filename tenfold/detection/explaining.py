"""What an assigner gives to the objects of a data set, before anything is trained."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tenfold import progress
from tenfold.detection.assign.audit import AssignmentAudit, audit_assignment
from tenfold.detection.assign.choosing import named_assigner, priors_of_objects
from tenfold.detection.assign.options import DcflOptions
from tenfold.detection.assign.priors import Predictions, Priors, grid_priors
from tenfold.detection.geometry.boxes import horizontal
from tenfold.detection.options import AssignmentExplaining
from tenfold.detection.tables import Labels, require_table
from tenfold.errors import UsageError
from tenfold.settings.values import read
from tenfold.training.streams import Draws

_LOGIT = -4.6  # of a head that says 1 % everywhere


def explain_assignment(
    labels: Labels, sizes: Mapping[str, tuple[int, int]], options: AssignmentExplaining | None = None
) -> AssignmentAudit:
    """Tables of the positives that objects get, and the share that gets none.

    Priors are square and stand still. Where predictions are ranked they are those of an untrained head: the priors
    themselves, with probabilities about 1 %.

    Args:
        sizes: width and height of pictures; those that are not there reach as far as their objects do.

    Raises:
        UsageError: for labels and sizes that are none.
    """
    require_table(labels, Labels)
    sizes = {name: read(tuple[int, int], size, f"the size of {name}") for name, size in dict(sizes).items()}
    for name, size in sizes.items():
        if min(size) < 1:
            raise UsageError(f"the size of {name} is {size}; give a width and a height in pixels")
    options = options or AssignmentExplaining()
    assigner = named_assigner(options.assigner, DcflOptions(min_positives=options.min_positives), scale=options.scale)
    objects, priors, assigned = [], [], []
    grids: dict[tuple[int, int], Priors] = {}
    for number, name in progress.track(list(enumerate(labels.images)), "assignment", unit="pictures"):
        rows = labels.image == number
        boxes = labels.boxes[rows].float()
        size = sizes.get(name) or _extent(boxes)
        if size not in grids:
            shapes = [(-(-size[1] // stride), -(-size[0] // stride)) for stride in options.strides]
            grids[size] = grid_priors(shapes, options.strides, options.scale)
        grid = grids[size]
        noise = Draws(options.seed, 0).normal("untrained head", torch.tensor([number]), (len(grid.boxes), 1))[0]
        said = Predictions(_LOGIT + noise.expand(-1, len(labels.classes)), grid.boxes)
        objects.append(boxes)
        priors.append(grid)
        assigned.append(priors_of_objects(boxes, labels.label[rows], grid, assigner, said))
    return audit_assignment(objects, priors, assigned)


def _extent(boxes: Tensor) -> tuple[int, int]:
    if not len(boxes):
        return (1, 1)
    width, height = horizontal(boxes)[:, 2:].amax(0).ceil().clamp(min=1).long().tolist()
    return (width, height)
