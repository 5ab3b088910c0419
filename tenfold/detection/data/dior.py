"""DIOR-R: an XML file a picture, with the corners of every object by name."""

from pathlib import Path
from xml.etree import ElementTree

from tenfold.detection.data.rows import QuadRow, numbers
from tenfold.errors import UsageError

_CORNERS = tuple(
    f"{axis}_{corner}" for corner in ("left_top", "right_top", "right_bottom", "left_bottom") for axis in "xy"
)


def read_dior_file(file: Path) -> list[QuadRow]:
    """Objects of the picture that the file is named after; UsageError names file and object."""
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise UsageError(f"{file} is no XML of DIOR-R: {error}") from None
    rows = []
    for number, item in enumerate(root.iter("object"), 1):
        place = f"{file}, object {number}"
        box, name = item.find("robndbox"), (item.findtext("name") or "").strip()
        if box is None or not name:
            raise UsageError(
                f"{place}: it has no {'name' if box is not None else 'robndbox'}; DIOR-R's oriented labels have"
            )
        corners = numbers([box.findtext(key) for key in _CORNERS], place, f"robndbox has {', '.join(_CORNERS)}")
        difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
        rows.append(QuadRow(file.stem, corners, name, difficult, place))
    return rows
