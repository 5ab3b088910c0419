"""What is no box."""

import math

from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError


def require_boxes(boxes: Float[Tensor, "*n 5"], what: str = "boxes") -> None:
    """Raise UsageError for NaN, infinity and negative sides, with the first such row. Waits for the device."""
    wrong = ~boxes.isfinite().all(-1) | (boxes[..., 2:4] < 0).any(-1)
    if bool(wrong.any()):
        row = int(wrong.flatten().nonzero()[0, 0])
        shown = ", ".join(f"{value:g}" for value in boxes.reshape(-1, 5)[row].tolist())
        raise UsageError(
            f"{what}[{row}] is ({shown}); a box is cx, cy, w, h and an angle, all finite, with sides of at least 0"
        )


def require_radians(boxes: Float[Tensor, "*n 5"], what: str = "boxes") -> None:
    """Raise UsageError where an angle is beyond 2π: such numbers are degrees. Waits for the device."""
    wrong = (boxes[..., 4].abs() > 2 * math.pi + 1e-6).flatten()
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0, 0])
        angle = float(boxes[..., 4].flatten()[row])
        raise UsageError(f"{what}[{row}] has the angle {angle:g}; angles are in radians, give {angle:g} degrees as "
                         f"{math.radians(angle):.4g}")  # fmt: skip
