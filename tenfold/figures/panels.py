"""Curves in panels, for reports: lines and points on linear or logarithmic axes, one PNG."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tenfold.figures.style import PALETTE, new_figure, save, styled
from tenfold.figures.ticks import plain_ticks

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Curve:
    """Points (x, y); ``style`` "line", "points", "both" or "dashed"; ``colour`` an index into the palette."""

    x: Any
    y: Any
    label: str = ""
    style: Literal["line", "points", "both", "dashed"] = "line"
    colour: int | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    curves: Sequence[Curve]
    xscale: Scale = "linear"
    yscale: Scale = "linear"
    ylim: tuple[float, float] | None = None
    note: str = field(default="")


def draw(panels: Sequence[Panel], path: str | os.PathLike[str], columns: int = 2) -> Path:
    """Panels in rows of ``columns``, one picture. Values that a logarithmic axis cannot show are left out."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        figure = new_figure(4.6 * columns, 3.4 * rows)
        for i, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, i + 1)
            for number, curve in enumerate(panel.curves):
                _add(axes, panel, curve, number if curve.colour is None else curve.colour)
            axes.set_xscale(panel.xscale)
            axes.set_yscale(panel.yscale)
            if panel.xscale == "log":
                plain_ticks(axes.xaxis, [float(x) for curve in panel.curves for x in curve.x])
            if panel.yscale == "log":
                plain_ticks(axes.yaxis)
            axes.set_title(panel.title)
            axes.set_xlabel(panel.xlabel)
            axes.set_ylabel(panel.ylabel)
            if panel.ylim:
                axes.set_ylim(*panel.ylim)
            if panel.note:
                axes.text(0.02, 0.02, panel.note, transform=axes.transAxes, fontsize=7, color="#5b6675")
            if any(curve.label for curve in panel.curves):
                axes.legend()
        return save(figure, path)


def _add(axes: Any, panel: Panel, curve: Curve, number: int) -> None:
    x, y = np.asarray(curve.x, dtype=np.float64), np.asarray(curve.y, dtype=np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    keep &= (x > 0) if panel.xscale == "log" else True
    keep &= (y > 0) if panel.yscale == "log" else True
    styles: dict[str, dict[str, Any]] = {
        "line": {"lw": 1.4},
        "points": {"lw": 0, "marker": "o", "ms": 3},
        "both": {"lw": 1.2, "marker": "o", "ms": 3},
        "dashed": {"lw": 1.2, "ls": "--"},
    }
    colour = PALETTE[number % len(PALETTE)]
    axes.plot(x[keep], y[keep], label=curve.label or None, color=colour, **styles[curve.style])
