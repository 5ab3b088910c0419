"""One call for all assigners."""

from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.assign.checks import check_assignment
from tenfold.detection.assign.dcfl import stages
from tenfold.detection.assign.options import (
    AssignerOptions,
    AtssOptions,
    DcflOptions,
    GaussianRankingOptions,
    MaxIouOptions,
    PointOptions,
    TaskAlignedOptions,
    WassersteinRankingOptions,
)
from tenfold.detection.assign.overlaps import by_atss, by_max_iou, by_task_alignment
from tenfold.detection.assign.points import by_points
from tenfold.detection.assign.priors import Predictions, Priors
from tenfold.detection.assign.ranking import by_gaussians, by_wasserstein
from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError, suggest


@takes(objects="boxes g 5", labels="whole g")
def assign_priors(
    objects: Float[Tensor, "g 5"],
    labels: Int[Tensor, " g"],
    priors: Priors,
    options: AssignerOptions,
    predictions: Predictions | None = None,
) -> Int[Tensor, " n"]:
    """For each prior the number of its object, BACKGROUND or IGNORED. Nothing is differentiated.

    Args:
        objects, labels: of one picture.
        priors: of all levels.
        options: of the assigner, which they choose.
        predictions: needed by DCFL with its posterior, and by TAL.

    Raises:
        UsageError: for boxes that are none, labels that no class has, predictions of another number than the priors,
            and where predictions are needed and there are none.

    >>> import torch
    >>> objects, labels = torch.tensor([[9.0, 9, 10, 8, 0.3]]), torch.tensor([0])
    >>> from tenfold.detection.assign.priors import grid_priors
    >>> assign_priors(objects, labels, grid_priors([(2, 2)], [8], 1.0), MaxIouOptions()).tolist()
    [-1, -1, -1, 0]
    """
    check_assignment(labels, priors, options, predictions)
    objects = objects.to(priors.boxes.dtype)
    return priors_of_objects(objects, labels, priors, options, predictions)


def priors_of_objects(
    objects: Float[Tensor, "g 5"],
    labels: Int[Tensor, " g"],
    priors: Priors,
    options: AssignerOptions,
    predictions: Predictions | None = None,
) -> Int[Tensor, " n"]:
    """``assign_priors`` of what is not looked at."""
    needs = isinstance(options, TaskAlignedOptions) or (isinstance(options, DcflOptions) and options.posterior)
    if needs and predictions is None:
        raise UsageError(f"{type(options).__name__} ranks by predictions; give them, or choose another assigner")
    if isinstance(options, DcflOptions):
        return stages(objects, priors, predictions, options).fine
    if isinstance(options, TaskAlignedOptions):
        assert predictions is not None
        return by_task_alignment(objects, labels, priors, predictions, options)
    if isinstance(options, MaxIouOptions):
        return by_max_iou(objects, priors, options)
    if isinstance(options, AtssOptions):
        return by_atss(objects, priors, options)
    if isinstance(options, GaussianRankingOptions):
        return by_gaussians(objects, priors, options)
    if isinstance(options, PointOptions):
        return by_points(objects, priors, options)
    return by_wasserstein(objects, priors, options)


def named_assigner(
    name: str, dcfl: DcflOptions | None = None, max_iou: MaxIouOptions | None = None, scale: float = 4.0
) -> AssignerOptions:
    """An assigner's options at their defaults, but those that are given; UsageError for another name.

    Args:
        scale: of the priors, for points.
    """
    known: dict[str, AssignerOptions] = {
        "dcfl": dcfl or DcflOptions(),
        "max-iou": max_iou or MaxIouOptions(),
        "atss": AtssOptions(),
        "tal": TaskAlignedOptions(),
        "gaussians": GaussianRankingOptions(),
        "wasserstein": WassersteinRankingOptions(),
        "points": PointOptions(scale=scale),
    }
    if name not in known:
        raise UsageError(f"assigner is {name!r}{suggest(name, known)}")
    return known[name]
