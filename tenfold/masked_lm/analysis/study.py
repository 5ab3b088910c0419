"""How a model decodes: orders at several temperatures, the map of its confidence, holes; as numbers and pictures.

What ``tenfold analyse`` does (DiffuCoder, arXiv 2506.20639, section 4), and the picture of the report."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold import figures, progress
from tenfold.errors import UsageError
from tenfold.figures import lines, write_captions
from tenfold.files import write_output
from tenfold.masked_lm.analysis import order as analysis
from tenfold.masked_lm.analysis.holes import (
    Body,
    Hole,
    HoleScore,
    cut_bodies,
    cut_holes,
    infill_exact_match,
    left_to_right_exact_match,
    side_by_side,
)
from tenfold.masked_lm.completion.complete import tokenizer_of
from tenfold.masked_lm.data import CodeRows
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.loss import mask_at_times
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedAnalysis
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome


def study(
    model: MaskedLM,
    texts: Sequence[Sequence[int]],
    options: MaskedAnalysis,
    folder: Path,
    name: str,
    autoregressive: MaskedLM | None = None,
    sources: Sequence[str] = (),
) -> Outcome:
    """Measure on held-out ``texts`` (tokens), and on functions of the texts ``sources``, and draw into ``folder``.

    Raises UsageError where the texts are too few or too short."""
    prompts = _prompts(model, texts, options)
    # Cut first: texts that are too short are refused before any pass.
    holes = cut_holes(texts, options.holes, options.window, seed=options.seed) if options.holes else []
    encode, most = tokenizer_of(model).encode, options.body_tokens
    bodies = cut_bodies(sources, encode, options.bodies, most) if options.bodies else []
    rows: list[Measurement] = []
    data: dict[str, Any] = {"temperatures": {}}
    curves: dict[str, tuple[Any, Any]] = {}
    first_orders: list[list[int]] = []
    for temperature in progress.track(options.temperatures, "temperatures"):
        orders, passes, rate = _orders(model, prompts, options, temperature)
        first_orders = first_orders or orders
        made = analysis.summary(orders, match=options.match, boundary=options.boundary)
        data["temperatures"][str(temperature)] = {**made, "passes": passes, "tokens_per_pass": rate, "orders": orders}
        rows += _ar_rows(made, temperature, rate, name, len(orders), options)
        for kind, values in made.items():
            curves[f"{kind}, T = {temperature:g}"] = (range(1, len(values) + 1), [mean for mean, _ in values])
    captions = {
        figures.lines(curves, folder / "ar-ness.png", "k", "share of steps").name: (
            "How near the decoding order is to left-to-right: local@k (the k tokens before were the left neighbours) "
            f"and global@k (one of the k leftmost masks); {options.match}, boundary '{options.boundary}'."
        )
    }
    if len(options.temperatures) > 1:
        heats = [float(t) for t in data["temperatures"]]
        sweep: dict[str, tuple[Any, Any]] = {
            f"{kind}@1": (heats, [entry[kind][0][0] for entry in data["temperatures"].values()])
            for kind in ("local", "global")
        }
        path = figures.lines(sweep, folder / "temperature.png", "temperature", "share of steps")
        captions[path.name] = "Local@1 and global@1 over the temperature."
    steps = np.array([np.argsort(order) for order in first_orders[:32]])
    captions[figures.matrix(steps, folder / "orders.png", "position", "prompt", "step").name] = (
        f"Step at which each position was revealed, a row a prompt, at temperature {options.temperatures[0]:g}."
    )
    confidence, sink = _map(model, prompts[: options.maps], options)
    # NaN where nothing is masked any more: JSON has none, and what is given is sure.
    data |= {"confidence": np.nan_to_num(confidence, nan=0.0).tolist(), "sink_score": sink}
    rows.append(Measurement("sink_score", sink, "nats", "test", name, draws=min(options.maps, len(prompts))))
    whole = figures.matrix(confidence, folder / "confidence.png", "position", "pass", "negative entropy (nats)")
    captions[whole.name] = "Confidence of what is still masked, in every pass (mean over prompts)."
    curve = {"first pass": (np.arange(confidence.shape[1]), confidence[0])}
    first = figures.lines(curve, folder / "first-pass.png", "position", "negative entropy (nats)")
    captions[first.name] = (
        "Confidence of the first pass over a fully masked completion: the entropy sink is its left end."
    )
    if holes:
        found, data["holes"] = _holes(model, holes, autoregressive, name)
        rows += found
    if bodies:
        found, data["bodies"] = _bodies(model, bodies, autoregressive, name)
        rows += found
        write_output(folder / "infilled.txt", "\n".join(data["bodies"]))
        captions["infilled.txt"] = (
            "Held-out functions whose body, or a line of it, was taken out: what was there, what the model filled in "
            "from both sides" + (", and the guess from the left." if autoregressive is not None else ".")
        )
    return Outcome(rows, captions, {"analysis": vars(options)}, data)


def _prompts(model: MaskedLM, texts: Sequence[Sequence[int]], options: MaskedAnalysis) -> Tensor:
    length = options.prompt_tokens
    usable = [list(text[:length]) for text in texts if len(text) >= length]
    if not usable:
        raise UsageError(f"no held-out text has the {length} tokens of a prompt; set prompt_tokens lower")
    if len(usable) < options.prompts:
        progress.note(f"{len(usable)} held-out texts are long enough, fewer than the {options.prompts} asked for")
    return torch.tensor(usable[: options.prompts], device=model.device)


def _orders(
    model: MaskedLM, prompts: Tensor, options: MaskedAnalysis, temperature: float
) -> tuple[list[list[int]], int, float]:
    orders, passes, rates = [], 0, []
    for part in prompts.split(options.batch):
        found = diffusion_generate(
            model, part, max_new_tokens=options.tokens, steps=options.steps, alg=options.alg,
            temperature=float(temperature), seed=options.seed,
        )  # fmt: skip
        orders += analysis.orders(found, options.ties)
        passes += found.nfe
        rates.append(analysis.tokens_per_pass(found))
    return orders, passes, float(np.mean(rates))


def _ar_rows(
    made: dict[str, list], temperature: float, rate: float, name: str, count: int, options: MaskedAnalysis
) -> list[Measurement]:
    note = f"T = {temperature:g}, {options.alg}, {rate:.3g} tokens a pass"
    conventions = {"local": f", {options.match}, boundary {options.boundary}", "global": ""}
    return [
        Measurement(f"{kind}_ar_ness_{k}", mean, "", "test", name, error, count, note + conventions[kind])
        for kind, values in made.items()
        for k, (mean, error) in enumerate(values, 1)
        if k in (1, 2, 4)
    ]


def _map(model: MaskedLM, prompts: Tensor, options: MaskedAnalysis) -> tuple[np.ndarray, float]:
    watch = analysis.EntropyMap(model.special.mask, prompts.shape[1])
    diffusion_generate(
        model, prompts, max_new_tokens=options.tokens, steps=options.steps, alg=options.alg,
        generation_logits_hook_func=watch,
    )  # fmt: skip
    values = watch.values()
    return values, analysis.sink_score(values)


def _holes(
    model: MaskedLM, holes: list[Hole], autoregressive: MaskedLM | None, name: str
) -> tuple[list[Measurement], list[dict[str, Any]]]:
    """Exact match of each model, and the holes as text."""
    found = _filled(model, holes, autoregressive, name)
    rows = [s.row("infilling_exact_match_accuracy", who, "holes of 1 to 8 tokens") for who, s in found.items()]
    decode = tokenizer_of(model).decode
    texts: list[dict[str, Any]] = []
    for number, hole in enumerate(holes):
        filled = {model_name: decode(score.answers[number]) for model_name, score in found.items()}
        parts = (hole.tokens[: hole.first], hole.answer, hole.tokens[hole.last :])
        texts.append(dict(zip(("before", "hole", "after"), map(decode, parts), strict=True)) | {"filled": filled})
    return rows, texts


def _bodies(
    model: MaskedLM, bodies: list[Body], autoregressive: MaskedLM | None, name: str
) -> tuple[list[Measurement], list[str]]:
    """Exact match of whole bodies and of a line of each, and the texts side by side."""
    rows, texts = [], []
    kinds = {"line": [b.line for b in bodies], "body": [b.body for b in bodies]}
    for kind, holes in kinds.items():
        found = _filled(model, holes, autoregressive, name)
        size = sum(hole.last - hole.first for hole in holes) / len(holes)
        note = f"one {kind} of a function, {size:.3g} tokens on average"
        rows += [s.row(f"{kind}_exact_match_accuracy", who, note) for who, s in found.items()]
        texts.append(side_by_side(holes, found, tokenizer_of(model).decode))
    return rows, [text for pair in zip(*texts, strict=True) for text in pair]


def _filled(model: MaskedLM, holes: list[Hole], autoregressive: MaskedLM | None, name: str) -> dict[str, HoleScore]:
    found = {name: infill_exact_match(model, holes)}
    if autoregressive is not None:
        found["left to right"] = left_to_right_exact_match(autoregressive, holes)
    return found


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
