"""An independent judge of compositions of digits: what is at which place of a picture.

The judge is a small convolutional network that reads, at every place of a canvas, which digit is there, if
any, and how large. It is trained on real compositions that the flow never saw, of training digits in all
combinations, and its score on real test compositions is the ceiling of every other score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from tenfold.data.captions.captioned import by_group
from tenfold.data.captions.compositions import compositions, grid_of
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.errors import UsageError
from tenfold.hub.fetch import CONFIG
from tenfold.hub.folders import from_pretrained, save_pretrained
from tenfold.nn.border import Values, whole
from tenfold.progress import task

NONE = 10
"""The judge's class of an empty place."""
_INPUT = 26
_MARGIN = 1


@dataclass(frozen=True)
class JudgeConfig:
    """Geometry of the judge.

    Attributes:
        side: side of the square whose area canvases have.
        window: pixels of the square around a place that the network reads.
        channels: channels of the images.
    """

    side: int = 32
    window: int = 26
    channels: int = 1


def windows(
    images: UInt8[Tensor, "b c h w"], side: int, window: int
) -> Float[Tensor, "b rows columns c window window"]:
    """What is at each place of a canvas, a pixel beyond it included, in the middle of a dark square; in [0, 1].

    All places of all canvases are on one scale, so that sizes compare.

    Raises UsageError for canvases with larger places than the window."""
    height, width = images.shape[2:]
    rows, columns = grid_of(height, width, side)
    result = torch.zeros(len(images), rows, columns, images.shape[1], window, window, device=images.device)
    for row in range(rows):
        for column in range(columns):
            top, bottom = _with_margin(row, rows, height)
            left, right = _with_margin(column, columns, width)
            if max(bottom - top, right - left) > window:
                raise UsageError(
                    f"the judge reads places of {window}x{window} pixels, but those of a {height}x{width} canvas are "
                    f"{bottom - top}x{right - left}; train a judge on canvases like it"
                )
            first, start = (window - bottom + top) // 2, (window - right + left) // 2
            here = images[:, :, top:bottom, left:right].float() / 255
            result[:, row, column, :, first : first + bottom - top, start : start + right - left] = here
    return result


def _with_margin(part: int, parts: int, length: int) -> tuple[int, int]:
    return max(0, part * length // parts - _MARGIN), min(length, (part + 1) * length // parts + _MARGIN)


class Judge(nn.Module):
    """Images uint8 (B, C, H, W) of any canvas to logits at each of its R x C places: of digit classes
    (B, R, C, 11), the last for none, and of sizes (B, R, C, 2)."""

    model_type: ClassVar[str] = "starflow-judge"
    config_class: ClassVar[type] = JudgeConfig

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for before, after, kernel in ((config.channels, 24, 5), (24, 48, 3), (48, 64, 3)):
            convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers[:-1], nn.Flatten(), nn.Dropout(0.2))
        self.hidden = nn.Linear(64 * (_INPUT // 4) ** 2, 128)
        self.digit, self.size = nn.Linear(128, NONE + 1), nn.Linear(128, 2)

    def forward(self, images: Tensor) -> tuple[Float[Tensor, "b rows columns 11"], Float[Tensor, "b rows columns 2"]]:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UsageError(f"the judge reads uint8 images (B, C, H, W), not {images.dtype} of {tuple(images.shape)}")
        if images.shape[1] != self.config.channels:
            raise UsageError(f"the judge reads {self.config.channels} channels, but images have {images.shape[1]}")
        places = windows(images.to(self.digit.weight.device), self.config.side, self.config.window)
        digits, sizes = self.read(places.flatten(0, 2))
        return digits.unflatten(0, places.shape[:3]), sizes.unflatten(0, places.shape[:3])

    def read(self, places: Float[Tensor, "n c s s"]) -> tuple[Float[Tensor, "n 11"], Float[Tensor, "n 2"]]:
        """Logits of digit class and size of single places, as ``windows`` cuts them."""
        if places.shape[-1] != _INPUT:
            places = F.interpolate(places, (_INPUT, _INPUT), mode="bilinear", antialias=True)
        hidden = F.relu(self.hidden(self.body(places)))
        return self.digit(hidden), self.size(hidden)


def on_grid(attributes: Values, rows: int, columns: int) -> Int64[Tensor, "b rows columns 2"]:
    """(digit class or ``NONE``, size or −1) at each place, from (digit, row, column, size) of each digit.

    Raises UsageError for a place outside the grid."""
    attributes = whole(attributes, "attributes")
    grid = torch.tensor([NONE, -1]).repeat(len(attributes), rows, columns, 1)
    sample, number = (attributes[..., 0] >= 0).nonzero(as_tuple=True)
    digit, row, column, size = attributes[sample, number].unbind(-1)
    if len(row) and (int(digit.max()) >= NONE or int(size.min()) < 0 or int(size.max()) > 1):
        raise UsageError("attributes name a digit above 9 or a size that is neither small (0) nor large (1)")
    if len(row) and (int(row.min()) < 0 or int(column.min()) < 0):
        raise UsageError("attributes name a place below 0; -1 stands for no digit, in the digit's place")
    if len(row) and (int(row.max()) >= rows or int(column.max()) >= columns):
        raise UsageError(f"attributes name a place outside the canvas's {rows}x{columns} places; take the canvas's own")
    grid[sample, row, column] = torch.stack([digit, size], dim=-1)
    return grid


def train_judge(
    config: CaptionDataConfig,
    steps: int = 2000,
    batch: int = 64,
    samples: int = 20000,
    seed: int = 0,
) -> Judge:
    """A judge for the compositions that ``config`` describes, trained on ``samples`` real ones of the split
    "judge", slightly turned, sheared and moved; the same seed gives the same weights on the same machine.

    Raises UsageError for settings of other data than compositions."""
    if config.source != "compositions":
        raise UsageError(f"a judge reads compositions of digits, not data source {config.source!r}")
    source = compositions(config, "judge", samples)
    members = by_group(source.groups)
    draw = np.random.default_rng([seed, samples])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(judge_config(config)).train()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=4e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=max(2, steps))
        with task("training the judge", steps, "steps") as step:
            for _ in range(steps):
                rows = draw.choice(members[draw.integers(len(members))], batch)
                optimizer.zero_grad(set_to_none=True)
                _loss(judge, source.batch(rows)).backward()
                optimizer.step()
                schedule.step()
                step()
    return judge.eval()


def kept_judge(config: CaptionDataConfig, folder: Path) -> Judge:
    """The judge in ``folder``; trained and put there if there is none, or one for other canvases."""
    place = folder / "judge"
    if (place / CONFIG).is_file():
        kept: Judge = from_pretrained(Judge, place)
        if kept.config == judge_config(config):
            return kept
    judge = train_judge(config)
    save_pretrained(judge, place)
    return judge


def judge_config(config: CaptionDataConfig) -> JudgeConfig:
    """The geometry that a judge for these compositions has."""
    window = max(_largest_place(*shape[1:], side=config.side) for shape in config.shapes)
    return JudgeConfig(config.side, window, config.channels)


def _largest_place(height: int, width: int, side: int) -> int:
    sizes = zip((height, width), grid_of(height, width, side), strict=True)
    spans = [_with_margin(part, parts, length) for length, parts in sizes for part in range(parts)]
    return max(end - start for start, end in spans)


def _loss(judge: Judge, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    # Cross-entropy of class and size at the places with digits and a few of the others, which are easy.
    places = windows(batch["image"], judge.config.side, judge.config.window)
    told = on_grid(batch["attributes"], places.shape[1], places.shape[2]).flatten(0, 2)
    chosen = (told[:, 0] != NONE) | (torch.rand(len(told)) < 0.15)
    digits, sizes = judge.read(_jitter(places.flatten(0, 2)[chosen]))
    loss = F.cross_entropy(digits, told[chosen, 0])
    return loss + 0.3 * F.cross_entropy(sizes, told[chosen, 1], ignore_index=-1)


def _jitter(places: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
    # Turned by 0.2 rad, sheared by a quarter and moved by 3 % of the window at most.
    angle, shear, right, down = (2 * torch.rand(4, len(places)) - 1) * torch.tensor([[0.2], [0.25], [0.06], [0.06]])
    top = torch.stack([angle.cos(), shear - angle.sin(), right], dim=1)
    bottom = torch.stack([angle.sin(), angle.cos(), down], dim=1)
    grid = F.affine_grid(torch.stack([top, bottom], dim=1), list(places.shape), align_corners=False)
    return F.grid_sample(places, grid, align_corners=False)
