"""The picture of a trained masked language model for its report."""

import math
from pathlib import Path

import numpy as np
import torch

from tenfold.figures import lines, write_captions
from tenfold.masked_lm.data import CodeRows
from tenfold.masked_lm.loss import mask_at_times
from tenfold.masked_lm.model import MaskedLM

_SHARES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)


@torch.no_grad()
def draw(model: MaskedLM, data: CodeRows, kind: str, directory: Path, rows: int = 64) -> list[Path]:
    """Bits per hidden token against the share of tokens that are hidden, on at most ``rows`` test rows; nothing for an
    autoregressive model, which has seen no mask."""
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "autoregressive":
        return []
    generator = torch.Generator().manual_seed(0)
    batch = data.test.batch(np.arange(min(rows, len(data.test))))
    tokens, maskable, real = (batch[key].to(model.device) for key in ("tokens", "maskable", "real"))
    bits = []
    for share in _SHARES:
        uniforms = torch.rand(tokens.shape, generator=generator).to(tokens.device)
        t = torch.full((len(tokens),), share, device=tokens.device)
        noised = mask_at_times(tokens, maskable, t, uniforms, model.special.mask)
        nll = model(noised.tokens, tokens, noised.masked, None if bool(real.all()) else real)
        bits.append(nll.sum().item() / max(1, int(noised.masked.sum())) / math.log(2))
    path = lines(
        {"test rows": (_SHARES, bits)},
        directory / "by-mask-ratio.png",
        "share of masked tokens",
        "bits per masked token",
    )
    write_captions(directory, {path.name: "How much is left to be known of a masked token, by how many are masked."})
    return [path]
