"""Objects in a user's pictures, written in the formats of the field."""

from pathlib import Path

import torch

from tenfold import progress
from tenfold.detection.config import BoxFinding
from tenfold.detection.data.coco import write_coco_results
from tenfold.detection.data.dota import write_dota_results
from tenfold.detection.data.geojson import write_geojson
from tenfold.detection.data.georeference import affine_of
from tenfold.detection.data.layout import PICTURES
from tenfold.detection.data.pictures import read_picture
from tenfold.detection.finding.decoding import FoundBoxes, detect_in_tiles
from tenfold.detection.finding.drawing import draw_found
from tenfold.detection.models.detector import Detector
from tenfold.detection.options import PictureDetection
from tenfold.detection.tables import Detections
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.task import device_of

_SHOWN = 12  # pictures of the report


def picture_files(inputs: str | None) -> list[Path]:
    """A picture, or all pictures of a folder. Raises UsageError where there are none, or two of one name."""
    place = Path(inputs or "")
    if not inputs or not place.exists():
        raise UsageError(f"{inputs!r} does not exist; give a picture, or a folder of pictures ({', '.join(PICTURES)})")
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    found = [file for file in files if file.suffix.lower() in PICTURES]
    if not found:
        raise UsageError(f"{place} holds no pictures ({', '.join(PICTURES)})")
    names = [file.stem for file in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two pictures in {place} are named {twice}; results tell them by that name alone")
    return found


def detect_files(model: Detector, inputs: str | None, options: PictureDetection, figures: Path) -> Outcome:
    """Find objects; beside ``figures``: ``Task1/`` (DOTA), ``detections.json`` (COCO), and ``NAME.geojson`` of every
    raster that has coordinates.

    Raises UsageError, before any work, where there are no pictures, and for pictures that cannot be read.
    """
    files = picture_files(inputs)
    finding = BoxFinding(score=options.score, overlap=options.overlap, most=options.most)
    classes, captions = model.config.classes, {}
    names = tuple(file.stem for file in files)
    parts: list[FoundBoxes] = []
    for number, file in progress.track(list(enumerate(files)), "pictures"):
        picture = read_picture(file)
        at = device_of(model)
        dtype = next(model.parameters()).dtype
        found = detect_in_tiles(model, picture.to(at, dtype), finding, options.tile, options.halo)
        found = FoundBoxes(*(column.cpu() for column in found))
        parts.append(found)
        affine = affine_of(file)
        if affine is not None:
            write_geojson(_table((file.stem,), classes, [found]), figures.parent / f"{file.stem}.geojson", affine)
        drawn = draw_found(picture, found.boxes, found.labels, classes, figures / f"{file.stem}.png")
        if number < _SHOWN:
            captions[drawn.name] = f"{file.name}: {len(found.boxes)} objects."
    every = _table(names, classes, parts)
    write_dota_results(every, figures.parent / "Task1")
    write_coco_results(every, figures.parent / "detections.json")
    counts = torch.bincount(every.label, minlength=len(classes)).tolist()
    rows = [Measurement("pictures", len(files)), Measurement("objects", len(every))]
    rows += [Measurement(f"objects {name}", count) for name, count in zip(classes, counts, strict=True) if count]
    return Outcome(rows, captions, {"options": vars(options)}, {"pictures": list(names)})


def _table(names: tuple[str, ...], classes: tuple[str, ...], parts: list[FoundBoxes]) -> Detections:
    boxes, scores, labels = (torch.cat(columns) for columns in zip(*parts, strict=True))
    image = torch.repeat_interleave(torch.tensor([len(part.boxes) for part in parts]))
    return Detections(names, classes, image, labels, boxes.double(), scores.float())
