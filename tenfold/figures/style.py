"""One style for all pictures, drawn through matplotlib's object interface: no global figure, no display."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.figures.theme import INK_ALONE
from tenfold.files import write_output

PALETTE = ("#2f6fdb", "#e07b39", "#3a9b6b", "#b4488e", "#7a68c9", "#8a8f98", "#c2a12e", "#2aa5b5")


INK, SOFT, LINE = "#1b2430", "#5b6675", "#e1e5ea"


STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
    "text.color": INK,
}


Path_ = str | os.PathLike[str]


def styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save(figure: Any, path: Path_) -> Path:
    from matplotlib.collections import QuadMesh
    from matplotlib.image import AxesImage

    content = io.BytesIO()
    # A page in dark colours may turn the lightness of a chart round, but not that of images and maps.
    metadata = {} if figure.findobj(lambda part: isinstance(part, AxesImage | QuadMesh)) else {"Comment": INK_ALONE}
    figure.savefig(content, dpi=130, format="png", metadata=metadata)
    return write_output(Path(path), content.getvalue())


def write_captions(directory: Path_, captions: Mapping[str, str]) -> Path:
    """``captions.json`` in a folder of figures: what the report writes under each, in reading order."""
    text = json.dumps(dict(captions), indent=2, ensure_ascii=False) + "\n"
    return write_output(Path(directory) / "captions.json", text)


def as_array(values: Any) -> np.ndarray:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values)
