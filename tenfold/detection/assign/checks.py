"""What assigners cannot use."""

from jaxtyping import Int
from torch import Tensor

from tenfold.detection.assign.options import AssignerOptions
from tenfold.detection.assign.priors import Predictions, Priors
from tenfold.detection.geometry.border import check_boxes
from tenfold.errors import UsageError
from tenfold.nn.border import finite


def check_assignment(labels: Int[Tensor, " g"], priors: object, options: object, predictions: object) -> None:
    """Raise UsageError for what an assigner cannot use."""
    if not isinstance(priors, Priors):
        raise UsageError(f"priors are {type(priors).__name__}; give Priors, which grid_priors makes")
    if not isinstance(options, AssignerOptions):
        raise UsageError(f"options are {type(options).__name__}; give those of an assigner, DcflOptions() say")
    check_boxes(priors.boxes, "priors.boxes")
    check_boxes(priors.moved, "priors.moved")
    if len(labels) and int(labels.min()) < 0:
        raise UsageError(f"the lowest label is {int(labels.min())}; labels are numbers from 0 on")
    if predictions is None:
        return
    if not isinstance(predictions, Predictions):
        raise UsageError(f"predictions are {type(predictions).__name__}; give Predictions")
    count, classes = predictions.logits.shape
    if count != len(priors.boxes):
        raise UsageError(f"there are {count} predictions and {len(priors.boxes)} priors; give one for each")
    if len(labels) and int(labels.max()) >= classes:
        raise UsageError(f"a label is {int(labels.max())}, and predictions are of {classes} classes")
    finite(predictions.logits, "predictions.logits")
    check_boxes(predictions.boxes, "predictions.boxes")
