"""Pictures with boxes drawn into them."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from tenfold.detection.geometry.quads import to_quads
from tenfold.figures import PALETTE

_SMALLEST = 512  # pixels of a side that is shown: tiny objects are enlarged


def draw_found(
    picture: UInt8[Tensor, "3 h w"],
    boxes: Float[Tensor, "n 5"],
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
    file: Path,
    objects: Float[Tensor, "m 5"] | None = None,
) -> Path:
    """Write the picture, small ones enlarged, with ``boxes`` in the colours of their classes, and ``objects`` in
    white."""
    pixels = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
    factor = max(1, -(-_SMALLEST // max(pixels.size)))
    shown = pixels.resize((pixels.width * factor, pixels.height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(shown)
    if objects is not None:
        for corners in (to_quads(objects) * factor).tolist():
            pen.polygon([(x, y) for x, y in zip(corners[::2], corners[1::2], strict=True)], outline="white")
    for corners, label in zip((to_quads(boxes) * factor).tolist(), labels.tolist(), strict=True):
        colour = PALETTE[label % len(PALETTE)]
        pen.polygon([(x, y) for x, y in zip(corners[::2], corners[1::2], strict=True)], outline=colour, width=2)
    for k in sorted(set(labels.tolist())):
        pen.text((4, 4 + 12 * k), classes[k], fill=PALETTE[k % len(PALETTE)])
    shown.save(file)
    return file
