"""Pictures for reports: curves, image grids, maps, histograms, bars. Pure functions of arrays, each writing one PNG.

Arrays may be NumPy or (CPU) PyTorch. matplotlib is imported when a picture is drawn, through its object
interface: no global figure, no display.
"""

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tenfold.errors import UsageError
from tenfold.files import write_output

PALETTE = ("#2f6fdb", "#e07b39", "#3a9b6b", "#b4488e", "#7a68c9", "#8a8f98", "#c2a12e", "#2aa5b5")
_INK, _SOFT, _LINE = "#1b2430", "#5b6675", "#e1e5ea"
_STYLE: Any = {
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
}
_NO_CURVE = ("step", "kind", "seconds", "time", "epoch", "samples", "eta")

Path_ = str | os.PathLike[str]


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
    with _context():
        figure = _figure(4.2 * columns, 2.9 * rows)
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
        return _save(figure, path)


def image_grid(
    images: Any,
    path: Path_,
    columns: int = 0,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    width: int = 1100,
) -> Path:
    """Images (N, C, H, W) or (N, H, W), grey or RGB, as one picture, each pixel enlarged by a whole factor
    so that tiny images stay sharp.

    Args:
        columns: images a row; 0 makes the grid about twice as wide as high.
        titles: one for each image, under it.
        row_titles: one for each row, left of it.
        low, high: values of black and white; 0 and 255 for integers, −1 and 1 for floats by default. Values
            beyond are clipped.
        width: what the picture's width should not exceed, in pixels, where the images allow.

    Raises UsageError for arrays of another shape, non-finite pixels or a wrong number of titles."""
    pixels = to_rgb(images, low, high)
    n, h, w, _ = pixels.shape
    if titles is not None and len(titles) != n:
        raise UsageError(f"{n} images have {len(titles)} titles; give one each")
    columns = columns or max(1, min(n, round(math.sqrt(2 * n))))
    rows = math.ceil(n / columns)
    if row_titles is not None and len(row_titles) != rows:
        raise UsageError(f"{rows} rows of images have {len(row_titles)} titles; give one each")
    font = ImageFont.load_default(15)
    margin = 14 + max((int(font.getlength(text)) for text in row_titles), default=0) if row_titles else 0
    gap, text_height = 6, 22 if titles else 0
    scale = max(1, min(96 // min(h, w) if max(h, w) < 96 else 1, (width - margin) // columns // w))
    # A column is at least as wide as its longest title.
    cell = max(w * scale, *(int(font.getlength(text)) + 2 for text in titles or [""]))
    height = h * scale + text_height
    sheet = Image.new("RGB", (margin + columns * (cell + gap) + gap, rows * (height + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i in range(n):
        row, column = divmod(i, columns)
        left, top = margin + gap + column * (cell + gap), gap + row * (height + gap)
        picture = Image.fromarray(pixels[i]).resize((w * scale, h * scale), Image.Resampling.NEAREST)
        sheet.paste(picture, (left + (cell - w * scale) // 2, top))
        if titles:
            draw.text((left + cell / 2, top + h * scale + 3), titles[i], _SOFT, font, "ma")
    for row, text in enumerate(row_titles or ()):
        draw.text((gap, gap + row * (height + gap) + h * scale / 2), text, _INK, font, "lm")
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return write_output(Path(path), content.getvalue())


def heat_maps(
    images: Any,
    maps: Any,
    path: Path_,
    titles: Sequence[str] | None = None,
    label: str = "nats",
    low: float | None = None,
    high: float | None = None,
) -> Path:
    """Images (N, C, H, W) above their maps (N, h, w) (per-token negative log-likelihoods, say), one colour
    scale for all; h and w divide the image's sides or not.

    Raises UsageError when the numbers of images, maps and titles differ."""
    pixels, values = to_rgb(images, low, high), _array(maps).astype(np.float64)
    n = len(pixels)
    if values.ndim != 3 or len(values) != n or (titles is not None and len(titles) != n):
        raise UsageError(f"{n} images need maps of shape ({n}, h, w) and as many titles, not {values.shape}")
    finite = values[np.isfinite(values)]
    bottom, top = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    with _context():
        figure = _figure(1.15 * n + 0.9, 2.75)
        grid = figure.add_gridspec(2, n + 1, width_ratios=[1] * n + [0.09])
        for i in range(n):
            above, below = figure.add_subplot(grid[0, i]), figure.add_subplot(grid[1, i])
            above.imshow(pixels[i], interpolation="nearest")
            shown = below.imshow(values[i], cmap="magma", vmin=bottom, vmax=top, interpolation="nearest")
            for axes in (above, below):
                axes.set_axis_off()
            if titles is not None:
                above.set_title(titles[i], fontsize=8, fontweight="normal", loc="center")
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[:, n]))
        bar.set_label(label)
        bar.outline.set_visible(False)
        return _save(figure, path)


def histograms(groups: Mapping[str, Any], path: Path_, xlabel: str, title: str = "") -> Path:
    """Distributions of one quantity in several groups (log-likelihoods of test and of other images), the
    first filled, on common bins that cover 1 % to 99 % of every group, as far as that leaves the first
    an eighth of the width; mass beyond is drawn in the last bins.

    Raises UsageError for a group without finite values."""
    values = {name: _array(group).astype(np.float64).ravel() for name, group in groups.items()}
    values = {name: group[np.isfinite(group)] for name, group in values.items()}
    for name, group in values.items():
        if not group.size:
            raise UsageError(f"group {name!r} has no finite value to draw")
    left = min(float(np.quantile(group, 0.01)) for group in values.values())
    right = max(float(np.quantile(group, 0.99)) for group in values.values())
    # Groups that spread far would press the first into a line: it gets an eighth of the width at least.
    first = next(iter(values.values()))
    low, high = float(np.quantile(first, 0.01)), float(np.quantile(first, 0.99))
    reach = 7 * max(high - low, 1e-9) if len(values) > 1 and high > low else math.inf
    cut = left < low - reach or right > high + reach
    left, right = max(left, low - reach), min(right, high + reach)
    span = max(right - left, 1e-9)
    bins = np.linspace(left - 0.05 * span, right + 0.05 * span, 101)
    with _context():
        figure = _figure(7.2, 3.4)
        axes = figure.add_subplot()
        highest = 0.0
        for i, (name, group) in enumerate(values.items()):
            colour = PALETTE[i % len(PALETTE)]
            # Mass beyond the bins is shown in the outermost ones, so that every histogram integrates to one.
            data, options = np.clip(group, bins[0], bins[-1]), {"bins": bins, "density": True}
            if i == 0:
                axes.hist(data, color=colour, alpha=0.25, **options)
            density = axes.hist(data, histtype="step", color=colour, lw=1.5, label=name, **options)[0]
            highest = max(highest, float(density[1:-1].max()))
        if cut and highest > 0:  # the last bins collect a lot: they may leave the picture
            axes.set_ylim(0, 1.15 * highest)
        axes.set_xlabel(f"{xlabel} (values beyond either end in the last bin)" if cut else xlabel)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_title(title, pad=24 if title else None)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
        return _save(figure, path)


def bars(
    labels: Sequence[str],
    values: Any,
    path: Path_,
    xlabel: str,
    errors: Any = None,
    highlight: Sequence[str] = (),
) -> Path:
    """Horizontal bars with their values written beside them (bits per dimension of models, say), in the given
    order from the top; ``errors`` are standard errors, ``highlight`` names the bars that stand out."""
    numbers = _array(values).astype(np.float64)
    if len(labels) != len(numbers) or not len(numbers):
        raise UsageError(f"{len(labels)} labels and {len(numbers)} values make no bar chart; give one label a value")
    with _context():
        figure = _figure(7.2, 0.42 * len(labels) + 0.9)
        axes = figure.add_subplot()
        positions = np.arange(len(labels))[::-1]
        colours = [PALETTE[0] if label in highlight else "#c3ccd8" for label in labels]
        spread = None if errors is None else np.nan_to_num(_array(errors).astype(np.float64))
        axes.barh(positions, numbers, 0.62, color=colours, xerr=spread, error_kw={"ecolor": _SOFT, "lw": 1})
        for position, number, extra in zip(
            positions, numbers, spread if spread is not None else positions * 0, strict=True
        ):
            axes.annotate(
                f"{number:.3f}", (number + max(extra, 0), position), (5, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axes.set_yticks(positions, labels)
        axes.tick_params(axis="y", length=0, labelcolor=_INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
        axes.set_xlabel(xlabel)
        return _save(figure, path)


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
    with _context():
        crowded = len(series) > len(PALETTE)
        figure = _figure(9.2 if crowded else 7.2, 4.0)
        axes = figure.add_subplot()
        # A second round of the colours has another mark.
        looks = iter([(colour, mark) for mark in "osD^v" for colour in PALETTE])
        for name, (x, y) in series.items():
            x, y = _array(x).astype(np.float64), _array(y).astype(np.float64)
            if x.shape != y.shape:
                raise UsageError(f"curve {name!r} has {x.size} places and {y.size} values; give as many of both")
            if name in dashed:
                axes.plot(x, y, "--", color=_SOFT, lw=1.1, label=name, zorder=1)
            else:
                colour, mark = next(looks)
                axes.plot(x, y, color=colour, lw=1.5, label=name, marker=mark if x.size < 40 else None, ms=3.5)
        if level is not None:
            axes.axhline(level[1], color=_SOFT, lw=1, ls="--", label=level[0])
        for logarithmic, scale, axis in zip(
            log, (axes.set_xscale, axes.set_yscale), (axes.xaxis, axes.yaxis), strict=True
        ):
            if logarithmic:
                scale("log")
                axis.set_major_formatter(_plain_ticks())
                axis.set_minor_formatter(_plain_ticks())
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_title(title)
        axes.legend(**({"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if crowded else {}))
        return _save(figure, path)


def _plain_ticks() -> Any:
    """Labels of a logarithmic axis as plain numbers, where matplotlib would have any."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return Plain(labelOnlyBase=False)


def matrix(values: Any, path: Path_, xlabel: str, ylabel: str, label: str) -> Path:
    """Values (rows, columns) as colours with a scale; what is not finite stays white. ``label`` names the values."""
    array = _array(values).astype(np.float64)
    if array.ndim != 2 or not array.size:
        raise UsageError(f"a picture of a matrix needs (rows, columns) values, not {array.shape}")
    with _context():
        figure = _figure(7.2, 4.0)
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(array), cmap="viridis", aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        bar = figure.colorbar(shown)
        bar.set_label(label)
        bar.outline.set_visible(False)
        return _save(figure, path)


def ranked(
    images: Any,
    scores: Any,
    path: Path_,
    count: int = 10,
    names: tuple[str, str] = ("least likely", "most likely"),
    low: float | None = None,
    high: float | None = None,
) -> Path:
    """The ``count`` images (N, C, H, W) with the lowest scores (N,) (log-likelihoods) above those with the
    highest, each with its score.

    Raises UsageError when images and scores differ in number."""
    pixels, values = _array(images), _array(scores).astype(np.float64)
    if len(pixels) != len(values):
        raise UsageError(f"{len(pixels)} images have {len(values)} scores; give one each")
    count = min(count, len(values))
    order = np.argsort(values, kind="stable")
    rows = np.concatenate([order[:count], order[::-1][:count]])
    titles = [f"{values[i]:.4g}" for i in rows]
    return image_grid(pixels[rows], path, count, titles, names, low, high)


def to_rgb(images: Any, low: float | None = None, high: float | None = None) -> np.ndarray:
    """uint8 (N, H, W, 3) of images (N, C, H, W) or (N, H, W), ``low`` black and ``high`` white (by default 0
    and 255 for integers, −1 and 1 for floats), clipped.

    Raises UsageError for other shapes and for values that are not finite."""
    array = _array(images)
    array = array[:, None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not len(array):
        raise UsageError(f"images have shape {array.shape}; give (N, 1 or 3, H, W) or (N, H, W)")
    integers = array.dtype.kind in "iub"
    bottom = low if low is not None else 0.0 if integers else -1.0
    top = high if high is not None else 255.0 if integers else 1.0
    scaled = (array.astype(np.float64) - bottom) / (top - bottom)
    if not np.isfinite(scaled).all():
        raise UsageError("an image to draw holds a value that is not finite; look for NaN where it was made")
    rgb = (scaled.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(rgb, 3, axis=3) if rgb.shape[3] == 1 else rgb


def _array(values: Any) -> np.ndarray:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values)


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


def _context() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _save(figure: Any, path: Path_) -> Path:
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format="png")
    return write_output(Path(path), content.getvalue())


def write_captions(directory: Path_, captions: Mapping[str, str]) -> Path:
    """``captions.json`` in a folder of figures: what the report writes under each, in reading order."""
    text = json.dumps(dict(captions), indent=2, ensure_ascii=False) + "\n"
    return write_output(Path(directory) / "captions.json", text)
