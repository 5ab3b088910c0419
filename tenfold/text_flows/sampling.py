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
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments
from tenfold.text_flows.bounds import sample_numbers
from tenfold.text_flows.corpus import texts_of
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


@read_arguments
@torch.no_grad()
def encode_text(model: TextFlow, tokens: Values, seed: int = 0, index: Values | None = None) -> Float[Tensor, "b m d"]:
    """u of texts (b, n) at latents drawn from q(z | x), keyed by (seed, the texts' numbers (b,)).

    Raises UsageError for what is no text of the model, and numbers that are not one a text."""
    tokens = model.rows(tokens)
    padded = model.padded(tokens)
    rows = sample_numbers(index, len(tokens))
    noise = Draws(seed, 0).normal("latents", rows.to(tokens.device), (padded.shape[1], model.config.dim))
    return model.states(model.tokens.encode(padded, noise.to(model.tokens.mean.dtype)))[-1]


@torch.no_grad()
def decode_noise(model: TextFlow, u: Values, options: TextFlowSampling, rows: Values | None = None) -> Generated:
    """Tokens of the states that noise u (b, m, d) becomes on its way to latents; of the latents alone without
    ``passes``. ``rows`` (b,) are the texts' numbers, which key what the decoder draws; 0, 1, … by default.

    Raises TenfoldError where the inverse is not certified, UsageError for other noise, and numbers that are not one a
    text."""
    u = model.points(u, "the noise")
    numbers = sample_numbers(rows, len(u))
    block = options.block if options.solver == "jacobi" else 1
    found = invert_flow(model, u, block, options.tolerance)
    wanted = found.states if options.passes else found.states[-1:]
    return Generated([_read(model, h, options, numbers) for h in wanted], found.calls, found.residual)


def _read(model: TextFlow, h: Tensor, options: TextFlowSampling, rows: Tensor) -> Tensor:
    """The tokens that the decoder reads in a state."""
    log_probs = model.tokens.log_probs(h)
    if options.decode == "argmax":
        return log_probs.argmax(-1)
    uniforms = Draws(options.seed, 1).uniform("decode", rows.to(h.device), (h.shape[1],), torch.float64)
    return categorical(log_probs.double().exp(), uniforms)


def continued(
    model: TextFlow, prompt: Int[Tensor, " n"], u: Float[Tensor, "b m d"], seed: int, rows: Int[Tensor, " b"]
) -> Float[Tensor, "b m d"]:
    """Noise u with that of the prompt in the first places: what a flow from left to right makes of it begins with the
    prompt, and goes on given its latents, which are drawn from q(z | x).

    Raises UsageError for a flow of several couplings, whose latents depend on what comes later; and for prompts that
    leave nothing to write or end inside a patch."""
    if len(model.couplings) > 1:
        raise UsageError("a flow that reads both ways cannot go on with a prompt; take one of a single coupling")
    if not 0 < len(prompt) < u.shape[1] or len(prompt) % model.config.patch:
        raise UsageError(
            f"a prompt of {len(prompt)} tokens and texts of {u.shape[1]}; give a shorter one, a multiple of "
            f"{model.config.patch}, or a larger length"
        )
    own = encode_text(model, prompt.to(u.device)[None].expand(len(u), -1), seed, rows)
    return torch.cat([own, u[:, len(prompt) :]], 1)


def edited(
    model: TextFlow, text: Int[Tensor, " n"], u: Float[Tensor, "b m d"], seed: int, strength: float
) -> Float[Tensor, "b m d"]:
    """√(1 − s²) u(text) + s u: the text's own noise, changed in part; the text's latents are the same for all rows."""
    own = encode_text(model, text.to(u.device)[None], seed)
    return (1 - strength**2) ** 0.5 * own + strength * u


def write_texts(
    model: TextFlow, options: TextFlowSampling, folder: Path, name: str, given: Int[Tensor, " n"] | None = None
) -> list[Path]:
    """Texts from noise, in the terms of ``given`` (the text of ``edit`` or ``prompt``), as ``samples.txt`` and
    ``samples.json``.

    Raises UsageError for a length that the model does not have."""
    model.eval()
    length = len(given) if given is not None and options.edit else options.length or model.config.length
    if not 0 < length <= model.config.length:
        raise UsageError(f"length is {length}; this model writes 1 to {model.config.length} tokens")
    texts: list[list[str]] = []
    calls, residual = 0, 0.0
    for rows in progress.track(torch.arange(options.num).split(options.batch), "samples", "batches"):
        u = base_noise(model, rows, length, options.seed)
        if given is not None and options.edit:
            u = edited(model, given, u, options.seed, options.strength)
        elif given is not None:
            u = continued(model, given, u, options.seed, rows)
        found = decode_noise(model, u, options, rows)
        calls, residual = calls + found.calls, max(residual, found.residual)
        states = [texts_of(model, tokens[:, :length]) for tokens in found.states]
        texts += [list(of_one) for of_one in zip(*states, strict=True)]
    record: dict[str, Any] = {
        "model": name,
        "options": asdict(options),
        "samples": [of_one[-1] for of_one in texts],
        "calls": calls,
        "residual": residual,
    }
    if options.passes:
        record["states"] = texts
    told = [line for of_one in texts for line in _told(of_one)]
    return [
        write_output(folder / "samples.txt", "".join(line + "\n" for line in told)),
        write_output(folder / "samples.json", json_text(record, indent=2) + "\n"),
    ]


def _told(states: list[str]) -> list[str]:
    """One text by its states, from noise on."""
    if len(states) == 1:
        return states
    return [*(f"h{len(states) - 1 - place}  {text}" for place, text in enumerate(states)), ""]
