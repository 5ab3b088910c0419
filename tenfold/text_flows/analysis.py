"""A flow state by state: what test text looks like on the way to noise, and what samples read like on the way back."""

import math
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.figures import lines, write_captions
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.text_flows.bounds import elbo
from tenfold.text_flows.corpus import FlowSplits, texts_of
from tenfold.text_flows.diagnostics import flow_flops, state_numbers
from tenfold.text_flows.evaluation import chosen_rows
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowAnalysis, TextFlowSampling
from tenfold.text_flows.sampling import base_noise, decode_noise
from tenfold.training.streams import Draws
from tenfold.training.task import device_of


@torch.no_grad()
def study_states(
    model: TextFlow, judge: TextFlow | None, data: FlowSplits, options: TextFlowAnalysis, figures: Path, name: str
) -> Outcome:
    """Diagnostics of every state of test rows, and of every state of samples the perplexity by a judge (the limit of a
    discrete model as a flow) and the entropy of its characters, beside those of test rows.

    Raises UsageError for a judge of other characters, or of shorter texts."""
    config = model.config
    other = judge is not None and (
        judge.config.alphabet != config.alphabet or judge.config.vocabulary != config.vocabulary
    )
    if judge is not None and (other or judge.config.length < config.length):
        raise UsageError("the judge reads other tokens or shorter texts than the model writes; train both alike")
    tokens = chosen_rows(data.test, options.num).to(device_of(model))
    rows, curves = _of_text(model, tokens, name)
    rows += [
        Measurement("flops", flow_flops(config).published, model=name, note="forward, a text, as the paper counts")
    ]
    found: list[list[Tensor]] = []
    sampling = TextFlowSampling(passes=True, seed=options.seed)
    for part in torch.arange(options.num).split(options.batch):
        noise = base_noise(model, part, config.length, options.seed)
        drawn = decode_noise(model, noise, sampling, part)
        found.append(drawn.states)
    told = "network calls for a batch of texts, one position after the other"
    rows.append(Measurement("calls", drawn.calls, model=name, note=told))
    states = [torch.cat(parts)[:, : config.length] for parts in zip(*found, strict=True)]
    texts = {}
    for place, written in enumerate(states):
        label = f"{name}, h{len(states) - 1 - place}"
        rows += _judged(judge, written, label, options.batch)
        texts[label] = texts_of(model, written[:4])
    rows += _judged(judge, tokens, "held-out text", options.batch)
    captions = {"states.png": "Lengths and used directions of the states of test text, from latents (0) to noise."}
    lines(curves, figures / "states.png", "state", "mean over texts")
    write_captions(figures, captions)
    return Outcome(rows, captions, {"judge": options.judge, "num": options.num}, {"samples": texts})


def _of_text(
    model: TextFlow, tokens: Tensor, name: str
) -> tuple[list[Measurement], dict[str, tuple[list[int], list[float]]]]:
    index = torch.arange(len(tokens), device=tokens.device)
    noise = Draws(0, 0).normal("latents", index, (model.padded_length(tokens.shape[1]), model.config.dim))
    states = model.states(model.tokens.encode(model.padded(tokens), noise.to(model.tokens.mean)))
    rows, curves = [], {}
    for what, unit in (("length", "length of a vector"), ("cosine", ""), ("participation", "directions used")):
        values = [getattr(state_numbers(h), what).double() for h in states]
        for place, value in enumerate(values):
            error = float(value.std()) / math.sqrt(len(value))
            row = Measurement(f"state_{what}", float(value.mean()), "", "test", f"{name}, h{place}", error)
            rows.append(row)
        if unit:
            curves[unit] = (list(range(len(values))), [float(value.mean()) for value in values])
    return rows, curves


def _judged(judge: TextFlow | None, tokens: Int[Tensor, "b n"], model: str, batch: int) -> list[Measurement]:
    count = len(tokens)
    entropy = sum(_entropy(row) for row in tokens) / count
    rows = [Measurement("sample_entropy", entropy, "bits", "samples", model, None, count)]
    if judge is not None:
        bits = elbo(judge, tokens.to(device_of(judge)), 1, batch=batch).nats / tokens.shape[1] / math.log(2)
        mean, error = float(bits.mean()), float(bits.std()) / math.sqrt(count)
        value = 2.0**mean
        rows.append(
            Measurement("generative_perplexity", value, "", "samples", model, value * math.log(2) * error, count)
        )
    return rows


def _entropy(row: Int[Tensor, " n"]) -> float:
    """Entropy of a text's own characters, bits."""
    shares: Float[Tensor, " v"] = torch.bincount(row).double() / len(row)
    return float(-(shares * shares.clamp(min=1e-300).log2()).sum())
