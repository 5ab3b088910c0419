"""What the report shows of a flow of text: what more draws buy, and what a character costs by its place."""

import math
from pathlib import Path

import torch

from tenfold.figures import lines, write_captions
from tenfold.text_flows.bounds import gain, log_weights
from tenfold.text_flows.corpus import FlowSplits, FlowTokens
from tenfold.text_flows.evaluation import chosen_rows
from tenfold.text_flows.networks.model import TextFlow
from tenfold.training.streams import Draws
from tenfold.training.task import device_of

_DRAWS = (1, 2, 4, 8, 16)
_ROWS = 128


@torch.no_grad()
def draw(model: TextFlow, data: FlowSplits, directory: Path) -> list[Path]:
    """The importance-weighted bound of some test rows over its draws, and the density of latents beside the posterior's
    by place, as PNG files with captions."""
    directory.mkdir(parents=True, exist_ok=True)
    what = "token" if isinstance(data, FlowTokens) else "character"
    tokens = chosen_rows(data.test, _ROWS).to(device_of(model))
    scale = tokens.shape[1] * math.log(2)
    bits = [value / scale for value in gain(log_weights(model, tokens, max(_DRAWS)), _DRAWS)]
    weighted = lines({"test rows": (_DRAWS, bits)}, directory / "by-draws.png", "draws S", f"bits per {what}, at most")
    rows = torch.arange(len(tokens), device=tokens.device)
    size, patch = model.padded_length(tokens.shape[1]), model.config.patch
    terms = model(tokens, Draws(0, 0).normal("latents", rows, (size, model.config.dim)))
    left = terms.posterior.unflatten(1, (-1, patch)).sum(2) - terms.prior
    cost = (left.mean(0) / patch / math.log(2)).tolist()
    place = range(patch, patch * len(cost) + 1, patch)
    placed = lines({"test rows": (place, cost)}, directory / "by-place.png", f"{what} of the row", "bits of its latent")
    captions = {
        weighted.name: "The importance-weighted bound of test rows, by the draws of latents a row.",
        placed.name: f"log q(z | x) − log p(z) of a {what}'s latent, by its place: what the flow pays for it.",
    }
    write_captions(directory, captions)
    return [weighted, placed]
