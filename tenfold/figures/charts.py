"""Maps, histograms, bars and matrices."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.figures.images import to_rgb
from tenfold.figures.style import INK, PALETTE, SOFT, Path_, as_array, new_figure, save, styled


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
    pixels, values = to_rgb(images, low, high), as_array(maps).astype(np.float64)
    n = len(pixels)
    if values.ndim != 3 or len(values) != n or (titles is not None and len(titles) != n):
        raise UsageError(f"{n} images need maps of shape ({n}, h, w) and as many titles, not {values.shape}")
    finite = values[np.isfinite(values)]
    bottom, top = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    with styled():
        figure = new_figure(1.15 * n + 0.9, 2.75)
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
        return save(figure, path)


def histograms(groups: Mapping[str, Any], path: Path_, xlabel: str, title: str = "") -> Path:
    """Distributions of one quantity in several groups (log-likelihoods of test and of other images), the
    first filled, on common bins that cover 1 % to 99 % of every group, as far as that leaves the first
    an eighth of the width; mass beyond is drawn in the last bins.

    Raises UsageError for a group without finite values."""
    values = {name: as_array(group).astype(np.float64).ravel() for name, group in groups.items()}
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
    with styled():
        figure = new_figure(7.2, 3.4)
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
        return save(figure, path)


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
    numbers = as_array(values).astype(np.float64)
    if len(labels) != len(numbers) or not len(numbers):
        raise UsageError(f"{len(labels)} labels and {len(numbers)} values make no bar chart; give one label a value")
    with styled():
        figure = new_figure(7.2, 0.42 * len(labels) + 0.9)
        axes = figure.add_subplot()
        positions = np.arange(len(labels))[::-1]
        colours = [PALETTE[0] if label in highlight else "#c3ccd8" for label in labels]
        # The error of a mean of one number is NaN: its bar has no whisker.
        spread = None if errors is None else np.nan_to_num(as_array(errors).astype(np.float64))
        axes.barh(positions, numbers, 0.62, color=colours, xerr=spread, error_kw={"ecolor": SOFT, "lw": 1})
        for position, number, extra in zip(
            positions, numbers, spread if spread is not None else positions * 0, strict=True
        ):
            axes.annotate(
                f"{number:.3f}", (number + max(extra, 0), position), (5, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axes.set_yticks(positions, labels)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
        axes.set_xlabel(xlabel)
        return save(figure, path)


def matrix(values: Any, path: Path_, xlabel: str, ylabel: str, label: str) -> Path:
    """Values (rows, columns) as colours with a scale; what is not finite stays white. ``label`` names the values."""
    array = as_array(values).astype(np.float64)
    if array.ndim != 2 or not array.size:
        raise UsageError(f"a picture of a matrix needs (rows, columns) values, not {array.shape}")
    with styled():
        figure = new_figure(7.2, 4.0)
        axes = figure.add_subplot()
        shown = axes.imshow(np.ma.masked_invalid(array), cmap="viridis", aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        bar = figure.colorbar(shown)
        bar.set_label(label)
        bar.outline.set_visible(False)
        return save(figure, path)
