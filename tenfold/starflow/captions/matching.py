"""Do pictures show what their captions say? Shares of what a judge reads in them."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor, nn

from tenfold.data.captions.captioned import by_group
from tenfold.data.captions.compositions import Compositions
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.runs.measurement import Measurement
from tenfold.starflow.captions.judge import NONE, on_grid

ASPECTS = ("all", "count", "digits", "places", "sizes")
"""What is scored: everything at once; how many digits; which, whatever their order; where; how large, whatever
their order."""
Batch = tuple[UInt8[Tensor, "_ c _ _"], Int64[Tensor, "_ n 4"]]
"""Images of one canvas, and the attributes (digit, row, column, size) that each is to show."""


@torch.no_grad()
def read_images(judge: nn.Module, images: Tensor) -> Int64[Tensor, "b rows columns 2"]:
    """What the judge, or another module with its outputs, sees at each place, as ``on_grid`` writes it; on the CPU."""
    parts = []
    for part in images.split(256):
        digits, sizes = (logits.argmax(dim=-1) for logits in judge(part))
        parts.append(torch.stack([digits, sizes.masked_fill(digits == NONE, -1)], dim=-1).cpu())
    return torch.cat(parts)


def match_score(judge: nn.Module, images: Tensor, attributes: Values) -> dict[str, Bool[Tensor, "b"]]:
    """Whether each image shows its attributes, by ``ASPECTS``.

    Raises UsageError for no images or another number of attributes."""
    if len(images) != len(attributes) or not len(images):
        raise UsageError(f"{len(images)} images have {len(attributes)} rows of attributes; give one each, at least one")
    seen = read_images(judge, images)
    told = on_grid(attributes, seen.shape[1], seen.shape[2])
    return _compare(seen, told)


def _compare(seen: Int64[Tensor, "b r c 2"], told: Int64[Tensor, "b r c 2"]) -> dict[str, Bool[Tensor, "b"]]:
    seen, told = seen.flatten(1, 2), told.flatten(1, 2)
    there = [grid[..., 0] != NONE for grid in (seen, told)]
    sorted_ = [grid.sort(dim=1).values for grid in (seen, told)]  # each column by itself
    return {
        "all": (seen == told).all(dim=(1, 2)),
        "count": there[0].sum(dim=1) == there[1].sum(dim=1),
        "digits": (sorted_[0][..., 0] == sorted_[1][..., 0]).all(dim=1),
        "places": (there[0] == there[1]).all(dim=1),
        "sizes": (sorted_[0][..., 1] == sorted_[1][..., 1]).all(dim=1),
    }


def derangement(count: int, generator: torch.Generator) -> Int64[Tensor, "n"]:
    """A random permutation (one cycle) that leaves nothing in place; ``count`` is at least 2."""
    order = torch.randperm(count, generator=generator)
    result = torch.empty_like(order)
    result[order] = order.roll(1)
    return result


def matching_rows(
    judge: nn.Module,
    batches: Iterable[Batch],
    model: str,
    split: str = "test",
    seed: int = 0,
) -> list[Measurement]:
    """Shares of images that show what their captions say, by ``ASPECTS``, with standard errors and numbers of
    images; and "caption_match_shuffled", the same for captions exchanged among the images of a canvas, so
    that no image has its own: what a model that ignores captions would score.

    Args:
        batches: images and attributes of one canvas each; several of one canvas are put together.
        model: the row's model; real compositions give the judge's ceiling.
        seed: seed of the exchange.

    Raises UsageError where a canvas has fewer than two images."""
    groups: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
    for images, attributes in batches:
        groups.setdefault(tuple(images.shape[1:]), []).append((images, attributes))
    generator = torch.Generator().manual_seed(seed)
    true: dict[str, list[Tensor]] = {name: [] for name in ASPECTS}
    shuffled: list[Tensor] = []
    for shape, parts in groups.items():
        images, attributes = (torch.cat(column) for column in zip(*parts, strict=True))
        if len(images) < 2:
            raise UsageError(f"canvas {shape[1]}x{shape[2]} has one image; give two or more, to exchange captions")
        seen = read_images(judge, images)
        told = on_grid(attributes, seen.shape[1], seen.shape[2])
        for name, values in _compare(seen, told).items():
            true[name].append(values)
        shuffled.append(_compare(seen, told[derangement(len(told), generator)])["all"])
    if not shuffled:
        raise UsageError("there are no images to match with captions")
    named = {f"caption_match_{name}" if name != "all" else "caption_match": values for name, values in true.items()}
    named["caption_match_shuffled"] = shuffled
    return [_share(name, values, model, split) for name, values in named.items()]


def _share(name: str, values: list[Bool[Tensor, "_"]], model: str, split: str) -> Measurement:
    right = torch.cat(values).double()
    share = float(right.mean())
    error = math.sqrt(share * (1 - share) / len(right))
    return Measurement(name, share, "", split, model, standard_error=error, draws=len(right))


def real_batches(source: Compositions, rows: Int64[np.ndarray, "records"] | None = None) -> list[Batch]:
    """Images and attributes of the records ``rows`` (all by default), one batch a canvas."""
    parts = map(source.batch, by_group(source.groups, rows))
    return [(part["image"], part["attributes"]) for part in parts]
