"""GeoJSON: a polygon an object, its picture and class among the properties; in pixels, or in coordinates of a map."""

from pathlib import Path
from typing import Any

import torch

from tenfold.detection.data.rows import QuadRow, RawLabels, numbers
from tenfold.detection.geometry.quads import to_quads
from tenfold.detection.tables import Detections, Labels
from tenfold.errors import UsageError
from tenfold.files import json_text, read_json, write_output

Affine = tuple[float, float, float, float, float, float]
PIXELS: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_POLYGON = "a feature is a Polygon of four corners (five points, the last the first again)"


def _matrix(affine: Affine) -> torch.Tensor:
    """(x, y, 1) of pixels to (east, north): rows (a, b, c), (d, e, f), as rasters name them."""
    matrix = torch.tensor([affine[:3], affine[3:], (0.0, 0.0, 1.0)], dtype=torch.float64)
    if not bool(matrix.isfinite().all()) or float(torch.linalg.det(matrix).abs()) == 0:
        raise UsageError(f"the affine map {affine} has no inverse; it is a, b, c, d, e, f with a e − b d other than 0")
    return matrix


def _mapped(corners: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    points = corners.double().unflatten(-1, (4, 2))
    return (points @ matrix[:2, :2].T + matrix[:2, 2]).flatten(-2)


def write_geojson(table: Labels | Detections, file: str | Path, affine: Affine = PIXELS) -> None:
    """A feature an object or detection, with ``image``, ``class``, and ``score`` or ``difficult``.

    Args:
        affine: a, b, c, d, e, f of the raster: east = a x + b y + c, north = d x + e y + f; pixels by default.
    """
    if not isinstance(table, Labels | Detections):
        raise UsageError(f"the table is {type(table).__name__}; give Labels or Detections")
    file = Path(file)
    corners = _mapped(to_quads(table.boxes), _matrix(affine)).tolist()
    further = table.scores if isinstance(table, Detections) else table.difficult
    key = "score" if isinstance(table, Detections) else "difficult"
    features = []
    columns = table.image.tolist(), table.label.tolist(), corners, further.tolist()
    for image, label, ring, value in zip(*columns, strict=True):
        points = [ring[k : k + 2] for k in (0, 2, 4, 6, 0)]
        about = {"image": table.images[image], "class": table.classes[label], key: value}
        features.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [points]}, "properties": about}
        )
    write_output(file, json_text({"type": "FeatureCollection", "features": features}) + "\n")


def read_geojson(file: Path, affine: Affine = PIXELS) -> RawLabels:
    """Objects of a collection; those without ``image`` are of the picture that the file is named after.

    Raises UsageError, with the feature's place, for what does not fit.
    """
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("features"), list):
        raise UsageError(f"{file} is no collection of features; GeoJSON has a list of them")
    back = torch.linalg.inv(_matrix(affine))
    rows = [_row(item, f"{file}, feature {k}", file.stem, back) for k, item in enumerate(content["features"], 1)]
    return RawLabels(rows, list(dict.fromkeys(row.image for row in rows)) or [file.stem], {})


def _row(item: Any, place: str, image: str, back: torch.Tensor) -> QuadRow:
    geometry = item.get("geometry") if isinstance(item, dict) else None
    rings = geometry.get("coordinates") if isinstance(geometry, dict) and geometry.get("type") == "Polygon" else None
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list) or len(rings[0]) != 5:
        raise UsageError(f"{place}: {_POLYGON}")
    points = [point for point in rings[0][:4] if isinstance(point, list) and len(point) >= 2]
    if len(points) < 4:
        raise UsageError(f"{place}: {_POLYGON}")
    ring = numbers([value for point in points for value in point[:2]], place, _POLYGON)
    about = item.get("properties") or {}
    name = about.get("class")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{place}: it has no property class; every feature has one")
    corners = _mapped(torch.tensor(ring, dtype=torch.float64), back).tolist()
    return QuadRow(str(about.get("image", image)), tuple(corners), name, bool(about.get("difficult", False)), place)
