"""Where a raster lies on the map: from GeoTIFF's tags, or from a world file beside it."""

from pathlib import Path

from PIL import Image

from tenfold.detection.data.geojson import Affine
from tenfold.errors import UsageError

_SCALE, _TIEPOINT, _TRANSFORMATION = 33550, 33922, 34264
_ENDINGS = {".tif": ".tfw", ".tiff": ".tfw", ".png": ".pgw", ".jpg": ".jgw", ".jpeg": ".jgw", ".bmp": ".bpw"}


def affine_of(file: Path) -> Affine | None:
    """The map (a, b, c, d, e, f) from pixels' corners to coordinates, in whatever system the raster has; None where it
    has none.

    Raises UsageError for a world file that is none.
    """
    with Image.open(file) as picture:
        tags = getattr(picture, "tag_v2", {})
        whole, scale, tie = (tags.get(number) for number in (_TRANSFORMATION, _SCALE, _TIEPOINT))
    if whole is not None and len(whole) == 16:
        return (whole[0], whole[1], whole[3], whole[4], whole[5], whole[7])
    if scale is not None and tie is not None and len(scale) >= 2 and len(tie) >= 6:
        (sx, sy), (i, j, _, x, y, _) = scale[:2], tie[:6]
        return (sx, 0.0, x - i * sx, 0.0, -sy, y + j * sy)
    world = file.with_suffix(_ENDINGS[file.suffix.lower()])
    return _world(world) if world.is_file() else None


def _world(file: Path) -> Affine:
    """Six lines, a, d, b, e, and the coordinates of the first pixel's middle."""
    try:
        a, d, b, e, x, y = (float(word) for word in file.read_text().split())
    except ValueError:
        raise UsageError(f"{file} is no world file: six numbers, each on a line, are expected") from None
    return (a, b, x - a / 2 - b / 2, d, e, y - d / 2 - e / 2)
