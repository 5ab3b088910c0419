"""Curves: of training, of anything by anything."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.figures.style import PALETTE, SOFT, Path_, as_array, new_figure, save, styled
from tenfold.figures.ticks import plain_ticks

_NO_CURVE = ("step", "kind", "seconds", "time", "epoch", "samples", "eta")


def curves(records: Sequence[Mapping[str, Any]], path: Path_) -> Path | None:
    """Curves of ``metrics.jsonl`` over steps, one panel a metric, training and validation together.

    A record has "step", and "kind" ("train", "validation") or names such as "validation/loss". Returns None,
    and draws nothing, where no metric has two finite values."""
    series = _series(records)
    if not series:
        return None
    # The loss first, then what both kinds report, then the rest; six panels at most.
    names = sorted(series, key=lambda name: (name != "loss", -len(series[name]), name))[:6]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    with styled():
        figure = new_figure(4.2 * columns, 2.9 * rows)
        for i, name in enumerate(names):
            axes = figure.add_subplot(rows, columns, i + 1)
            for kind, (steps, values) in series[name].items():
                colour = PALETTE[1] if kind == "validation" else PALETTE[0]
                marker = "o" if len(steps) < 25 else None
                axes.plot(steps, values, color=colour, lw=1.4, label=kind, marker=marker, ms=3)
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("step")
            _limit(axes, [value for _, values in series[name].values() for value in values])
            if len(series[name]) > 1 or next(iter(series[name])) == "validation":
                axes.legend()
        return save(figure, path)


def lines(
    series: Mapping[str, tuple[Any, Any]],
    path: Path_,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: tuple[bool, bool] = (False, False),
    dashed: Sequence[str] = (),
    level: tuple[str, float] | None = None,
) -> Path:
    """Curves y(x) by name, with marks where a curve has few points; ``log`` makes the axes logarithmic, ``dashed``
    names reference curves, drawn grey and without marks; ``level`` is the name and the height of a horizontal line to
    compare with.

    Raises UsageError without curves, or for one whose x and y differ in length."""
    if not series:
        raise UsageError("there is no curve to draw; give at least one")
    with styled():
        crowded = len(series) > len(PALETTE)
        figure = new_figure(9.2 if crowded else 7.2, 4.0)
        axes = figure.add_subplot()
        # A second round of the colours has another mark.
        looks = iter([(colour, mark) for mark in "osD^v" for colour in PALETTE])
        for name, (x, y) in series.items():
            x, y = as_array(x).astype(np.float64), as_array(y).astype(np.float64)
            if x.shape != y.shape:
                raise UsageError(f"curve {name!r} has {x.size} places and {y.size} values; give as many of both")
            if name in dashed:
                axes.plot(x, y, "--", color=SOFT, lw=1.1, label=name, zorder=1)
            else:
                colour, mark = next(looks)
                axes.plot(x, y, color=colour, lw=1.5, label=name, marker=mark if x.size < 40 else None, ms=3.5)
        if level is not None:
            axes.axhline(level[1], color=SOFT, lw=1, ls="--", label=level[0])
        for logarithmic, scale, axis in zip(
            log, (axes.set_xscale, axes.set_yscale), (axes.xaxis, axes.yaxis), strict=True
        ):
            if logarithmic:
                scale("log")
                plain_ticks(axis)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_title(title)
        axes.legend(**({"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if crowded else {}))
        return save(figure, path)


def _series(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for record in records:
        for key, value in record.items():
            prefix, slash, name = key.partition("/")
            kind = prefix if slash and prefix in ("train", "validation", "val") else record.get("kind", "train")
            kind = "validation" if kind == "val" else str(kind)
            name = name if slash and prefix in ("train", "validation", "val") else key
            numeric = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if name in _NO_CURVE or not numeric or not isinstance(record.get("step"), int | float):
                continue
            steps, values = found.setdefault(name, {}).setdefault(kind, ([], []))
            steps.append(float(record["step"]))
            values.append(float(value))
    kept = {name: kinds for name, kinds in found.items() if any(len(steps) > 1 for steps, _ in kinds.values())}
    return kept


def _limit(axes: Any, values: list[float]) -> None:
    # The first steps of a run dwarf all others: leave out the largest 3 % where they stretch the scale a lot.
    if len(values) < 20:
        return
    lowest, high, largest = float(np.min(values)), float(np.quantile(values, 0.97)), float(np.max(values))
    if largest - lowest > 2.5 * (high - lowest) > 0:
        axes.set_ylim(lowest - 0.05 * (high - lowest), high + 0.1 * (high - lowest))
