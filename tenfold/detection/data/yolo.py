"""YOLO-OBB text: an object a line, the number of its class and four corners as shares of width and height."""

from pathlib import Path

from tenfold.detection.data.rows import QuadRow, Size, lines_of, numbers
from tenfold.detection.geometry.quads import to_quads
from tenfold.detection.tables import Labels, require_table
from tenfold.errors import UsageError
from tenfold.files import write_output

_LINE = "a line is the class's number and x1 y1 x2 y2 x3 y3 x4 y4 as shares of width and height"


def looks_like_yolo(file: Path) -> bool:
    """Whether the first line that is not empty is nine numbers, the first a whole one, the others from 0 to 1 or so."""
    words = next((line.split() for line in lines_of(file) if line.strip()), [])
    try:
        values = [float(word) for word in words]
    except ValueError:
        return False
    return len(values) == 9 and words[0].isdigit() and all(-1 <= value <= 2 for value in values[1:])


def read_yolo_file(file: Path, size: Size, classes: tuple[str, ...]) -> list[QuadRow]:
    """Objects of a picture of that size.

    Raises UsageError, with file and line, for what is no such line and for a class without a name.
    """
    rows = []
    for number, line in enumerate(lines_of(file), 1):
        words = line.split()
        if not words:
            continue
        place = f"{file}, line {number}"
        if len(words) != 9:
            raise UsageError(f"{place}: there are {len(words)} words; {_LINE}")
        values = numbers(words, place, _LINE)
        if not (values[0].is_integer() and 0 <= values[0] < len(classes)):
            raise UsageError(f"{place}: {words[0]} is none of the {len(classes)} classes; they are numbered from 0")
        corners = tuple(value * size[k % 2] for k, value in enumerate(values[1:]))
        rows.append(QuadRow(file.stem, corners, classes[int(values[0])], False, place))
    return rows


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Names in ``classes.txt`` of a folder or the one above, one a line; none where there is no such file."""
    for place in (folder, folder.parent, folder.parent.parent):
        if (place / "classes.txt").is_file():
            return tuple(line.strip() for line in lines_of(place / "classes.txt") if line.strip())
    return ()


def write_yolo_labels(labels: Labels, folder: str | Path, sizes: dict[str, Size]) -> None:
    """A file a picture, and ``classes.txt``; UsageError for a picture whose size is not known."""
    require_table(labels, Labels)
    folder = Path(folder)
    missing = [name for name in labels.images if name not in sizes]
    if missing:
        raise UsageError(f"the size of {missing[0]} is not known, and YOLO's labels are shares of it; give its picture")
    lines: dict[str, list[str]] = {name: [] for name in labels.images}
    columns = labels.image, labels.label, to_quads(labels.boxes)
    for image, label, corners in zip(*(column.tolist() for column in columns), strict=True):
        size = sizes[labels.images[image]]
        numbers = " ".join(f"{value / size[k % 2]:.8f}" for k, value in enumerate(corners))
        lines[labels.images[image]].append(f"{label} {numbers}\n")
    for name, own in lines.items():
        write_output(folder / f"{name}.txt", "".join(own))
    write_output(folder / "classes.txt", "".join(f"{name}\n" for name in labels.classes))
