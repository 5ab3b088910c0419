"""Text of AI-TOD-R and DOTA: an object a line, ``x1 y1 x2 y2 x3 y3 x4 y4 class difficulty``; and DOTA's task-1 files
of results, one a class, ``image score x1 y1 ... y4``."""

from pathlib import Path

from tenfold import progress
from tenfold.detection.data.rows import QuadRow, lines_of, numbers, score_of
from tenfold.detection.geometry.quads import to_quads
from tenfold.detection.tables import Detections, Labels, require_table
from tenfold.errors import UsageError
from tenfold.files import write_output

_HEADERS = ("imagesource", "gsd")
_LINE = "a line is x1 y1 x2 y2 x3 y3 x4 y4 class [difficulty]"
_RESULT = "a line is image score x1 y1 x2 y2 x3 y3 x4 y4"


def read_dota_file(file: Path) -> list[QuadRow]:
    """Objects of the picture that the file is named after. Commas may stand for blanks, the difficulty may be missing,
    headers (imagesource, gsd) are passed over.

    Raises UsageError, with file and line, for what is no such line.
    """
    rows = []
    for number, line in enumerate(lines_of(file), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].partition(":")[0].lower() in _HEADERS:
            continue
        place = f"{file}, line {number}"
        if not 9 <= len(words) <= 10:
            raise UsageError(f"{place}: there are {len(words)} words; {_LINE}")
        corners = numbers(words[:8], place, _LINE)
        difficulty = numbers(words[9:], place, _LINE) if len(words) == 10 else (0.0,)
        rows.append(QuadRow(file.stem, corners, words[8], difficulty[0] > 0, place))
    return rows


def write_dota_labels(labels: Labels, folder: str | Path) -> None:
    """A file a picture, of pictures without objects too; coordinates to 1/10,000 pixel, so that boxes come back."""
    require_table(labels, Labels)
    folder = Path(folder)
    lines: dict[str, list[str]] = {name: [] for name in labels.images}
    rows = zip(
        *(c.tolist() for c in (labels.image, labels.label, to_quads(labels.boxes), labels.difficult)), strict=True
    )
    for image, label, corners, difficult in rows:
        numbers = " ".join(f"{value:.4f}" for value in corners)
        lines[labels.images[image]].append(f"{numbers} {labels.classes[label]} {int(difficult)}\n")
    for name, own in progress.track(lines.items(), "labels", unit="files"):
        write_output(folder / f"{name}.txt", "".join(own))


def read_dota_results(folder: Path) -> list[QuadRow]:
    """Detections in ``Task1_CLASS.txt`` or ``CLASS.txt``."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise UsageError(f"{folder} holds no results; a file Task1_CLASS.txt a class is expected there")
    rows = []
    for file in progress.track(files, "results", unit="files"):
        name = file.stem.removeprefix("Task1_")
        for number, line in enumerate(lines_of(file), 1):
            words = line.split()
            if not words:
                continue
            place = f"{file}, line {number}"
            if len(words) != 10:
                raise UsageError(f"{place}: there are {len(words)} words; {_RESULT}")
            corners = numbers(words[2:], place, _RESULT)
            rows.append(QuadRow(words[0], corners, name, False, place, score_of(words[1], place)))
    return rows


def write_dota_results(detections: Detections, folder: str | Path) -> None:
    """A file ``Task1_CLASS.txt`` a class, which DOTA's server takes."""
    require_table(detections, Detections, "detections")
    folder = Path(folder)
    lines: dict[str, list[str]] = {name: [] for name in detections.classes}
    columns = detections.image, detections.label, to_quads(detections.boxes), detections.scores
    for image, label, corners, score in zip(*(column.tolist() for column in columns), strict=True):
        numbers = " ".join(f"{value:.4f}" for value in corners)
        lines[detections.classes[label]].append(f"{detections.images[image]} {score:.6f} {numbers}\n")
    for name, own in lines.items():
        write_output(folder / f"Task1_{name}.txt", "".join(own))
