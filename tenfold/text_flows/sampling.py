"""Texts from noise, the text of every state between, and texts whose noise is changed in part."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import categorical
from tenfold.errors import UsageError
from tenfold.files import json_text, write_output
from tenfold.text_flows.inversion import invert_flow
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowSampling
from tenfold.training.streams import Draws
from tenfold.training.task import device_of


class Generated(NamedTuple):
    """Tokens (texts, n) of every state that was decoded, from noise (L) to latents (0), the network's calls a text
    (those of a batch), and the largest residual of the inverse."""

    states: list[Tensor]
    calls: int
    residual: float


def base_noise(model: TextFlow, rows: Int[Tensor, " b"], length: int, seed: int) -> Float[Tensor, "b m d"]:
    """u ~ N(0, I) of the texts with the numbers ``rows``, on the model's device and in its precision."""
    shape = (model.padded_length(length), model.config.dim)
    weight = model.tokens.mean
    return Draws(seed, 0).normal("base", rows.to(device_of(model)), shape).to(weight.dtype)


@torch.no_grad()
def encode_text(
    model: TextFlow, tokens: Int[Tensor, "b n"], seed: int = 0, index: Int[Tensor, " b"] | None = None
) -> Float[Tensor, "b m d"]:
    """u of texts at latents drawn from q(z | x), keyed by (seed, the texts' numbers)."""
    padded = model.padded(tokens)
    rows = torch.arange(len(tokens)) if index is None else index
    noise = Draws(seed, 0).normal("latents", rows.to(tokens.device), (padded.shape[1], model.config.dim))
    return model.states(model.tokens.encode(padded, noise.to(model.tokens.mean.dtype)))[-1]


@torch.no_grad()
def decode_noise(model: TextFlow, u: Float[Tensor, "b m d"], options: TextFlowSampling) -> Generated:
    """Tokens of the states that noise u becomes on its way to latents; of the latents alone without ``passes``.

    Raises TenfoldError where the inverse is not certified."""
    block = options.block if options.solver == "jacobi" else 1
    found = invert_flow(model, u, block, options.tolerance)
    wanted = found.states if options.passes else found.states[-1:]
    return Generated([read_state(model, h, options) for h in wanted], found.calls, found.residual)


def read_state(model: TextFlow, h: Float[Tensor, "b n d"], options: TextFlowSampling) -> Int[Tensor, "b n"]:
    """The tokens that the decoder reads in a state."""
    log_probs = model.tokens.log_probs(h)
    if options.decode == "argmax":
        return log_probs.argmax(-1)
    rows = torch.arange(len(h), device=h.device)
    return categorical(
        log_probs.double().exp(), Draws(options.seed, 1).uniform("decode", rows, (h.shape[1],), torch.float64)
    )


def letters_of(model: TextFlow, tokens: Int[Tensor, "b n"]) -> list[str]:
    """Tokens as text. Raises UsageError for a model whose tokens are no characters."""
    if not model.config.alphabet:
        raise UsageError("the model's tokens are no characters, so its samples are no text; see sampling.decode_noise")
    return ["".join(model.config.alphabet[i] for i in row) for row in tokens.tolist()]


def write_texts(
    model: TextFlow, options: TextFlowSampling, folder: Path, name: str, edited: Int[Tensor, " n"] | None = None
) -> list[Path]:
    """Texts from noise, or the ``edited`` one by new noise in part, as ``samples.txt`` and ``samples.json``.

    Raises UsageError for a length that the model does not have."""
    model.eval()
    length = len(edited) if edited is not None else options.length or model.config.length
    if not 0 < length <= model.config.length:
        raise UsageError(f"length is {length}; this model writes 1 to {model.config.length} tokens")
    lines: list[list[str]] = []
    calls, residual = 0, 0.0
    batches = torch.arange(options.num).split(options.batch)
    for rows in progress.track(batches, "samples", "batches"):
        u = base_noise(model, rows, length, options.seed)
        if edited is not None:
            own = encode_text(
                model, edited.to(u.device)[None].expand(len(rows), -1), options.seed, torch.zeros_like(rows)
            )
            u = (1 - options.strength**2) ** 0.5 * own + options.strength * u
        found = decode_noise(model, u, options)
        calls, residual = calls + found.calls, max(residual, found.residual)
        lines += zip(*(letters_of(model, tokens[:, :length]) for tokens in found.states), strict=True)  # type: ignore[arg-type]
    depth = len(lines[0])
    shown = [line for states in lines for line in _told(list(states), depth)]
    record: dict[str, Any] = {
        "model": name,
        "options": asdict(options),
        "samples": [states[-1] for states in lines],
        "calls": calls,
        "residual": residual,
    }
    if options.passes:
        record["states"] = [list(states) for states in lines]
    return [
        write_output(folder / "samples.txt", "".join(line + "\n" for line in shown)),
        write_output(folder / "samples.json", json_text(record, indent=2) + "\n"),
    ]


def _told(states: list[str], depth: int) -> list[str]:
    if depth == 1:
        return states
    return [f"h{depth - 1 - place}  {text}" for place, text in enumerate(states)] + [""]
