"""Masked language models: what decoding costs, against the published loop and against plain decoding.

``python -m benchmarks.masked_lm [--quick] [--json FILE] [--model RUN] [--adapted RUN] [--figure FILE] [--only NAME]``

``--model`` is a trained masked model of bytes (default: the run of ``results/run.py`` for code-bytes-flagship),
``--adapted`` a large vocabulary's (default: that of smollm2-code; "smollm2" takes the packaged weights as they are),
which is used for ``exact`` alone. Either may be "none": its records are left out. ``--only`` names one of
dual-threshold, batch8, self-speculative, quality-passes, exact.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Record, main, paired
from benchmarks.holed_windows import fill, holed_windows
from benchmarks.reference_masked_lm import dream_generate, sample_rows
from tenfold import api
from tenfold.data.text.code import load_code
from tenfold.data.text.config import CodeDataConfig
from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.analysis.oracle import example_chain
from tenfold.masked_lm.convert import read_published
from tenfold.masked_lm.decoding.generation import Generation
from tenfold.masked_lm.decoding.options import REFERENCE
from tenfold.masked_lm.decoding.proposals import propose
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.model import MaskedLM

Emit = Callable[[Record], None]
MODEL, ADAPTED = "runs/results/code-bytes-flagship-0", "runs/results/smollm2-code-0"
LENGTH, BLOCK, PROMPT = 256, 32, 64
THRESHOLD = 0.9
DUAL: dict[str, Any] = {"alg": "maskgit_plus", "cache": "dual", "block_length": BLOCK, "threshold": THRESHOLD}
DELAYED = DUAL | {"cache": "block_delayed"}
PLAIN: dict[str, Any] = {"alg": "maskgit_plus"}
TEXT = "def fibonacci(n):\n    "
# Name: options of each point of its curve of quality against passes.
STRATEGIES: dict[str, list[dict[str, Any]]] = {
    "one at a time, fewer steps": [{"alg": "entropy", "steps": n} for n in (4, 8, 16)] + [{"alg": "entropy"}],
    "blocks": [{"alg": "entropy", "block_length": BLOCK}],
    "origin": [{"alg": "origin", "steps": n} for n in (4, 8, 16, 32)],
    "threshold": [{"alg": "maskgit_plus", "threshold": t} for t in (0.5, 0.7, 0.9, 0.99)],
    "factor": [{"alg": "maskgit_plus", "factor": f} for f in (0.1, 0.5, 1.0, 2.0)],
    "entropy bound": [{"alg": "entropy", "gamma": g} for g in (0.01, 0.1, 0.5, 1.0)],
    "remdm": [{"strategy": "remdm", "steps": n, "eta": 0.05} for n in (4, 8, 16, 32)],
    "self-speculative": [{"alg": "entropy", "strategy": "self_speculative", "draft": n} for n in (2, 4, 8)],
    "dual cache, threshold": [DUAL | {"threshold": t} for t in (0.5, 0.9)],
    "block-delayed cache, threshold": [DELAYED | {"threshold": t} for t in (0.5, 0.9)],
    "prefix cache, threshold": [DUAL | {"cache": "prefix", "threshold": t} for t in (0.5, 0.9)],
    "delayed cache": [{"alg": "entropy", "cache": "delayed", "refresh": n} for n in (4, 8)],
    "adaptive cache": [{"alg": "entropy", "cache": "adaptive", "refresh": n} for n in (4, 8)],
}


def held_out(model: MaskedLM) -> list[list[int]]:
    """Tokens of held-out functions of the standard library, those long enough first, file after file, joined where
    they are short."""
    assert model.tokenizer is not None
    documents = load_code(CodeDataConfig(functions="all", most_characters=0)).test
    texts: list[list[int]] = [[]]
    for document in documents:
        texts[-1] += model.tokenizer.encode(document.prompt + document.text)
        if len(texts[-1]) >= 2 * LENGTH:
            texts.append([])
    return [text for text in texts if len(text) >= LENGTH]


def exact(emit: Emit, model: MaskedLM, quick: bool) -> None:
    """Masked-row logits against the published loop, same passes, as decoding is recommended and greedily."""
    assert model.tokenizer is not None
    prompt = torch.tensor([model.tokenizer.encode(TEXT)])
    length, steps = (32, 2) if quick else (128, 16)
    for name, temperature, top_p in (("exact", 0.2, 0.95), ("exact-greedy", 0.0, None)):
        options = {"alg": "entropy", "temperature": temperature, "top_p": top_p, "steps": steps, **REFERENCE}
        ours = partial(diffusion_generate, model, prompt, max_new_tokens=length, **options)
        other = partial(dream_generate, model, prompt, length, steps, "entropy", temperature, top_p)
        # Draws differ between the programs; without them every step must be the same.
        greedy = {**options, "temperature": 0.0}
        found = diffusion_generate(model, prompt, max_new_tokens=length, output_history=True, **greedy)
        same = dream_generate(model, prompt, length, steps, "entropy", 0.0, top_p)
        equal = all(torch.equal(a, b) for a, b in zip(found.history, same, strict=True))
        with torch.no_grad():
            rows = model.logits(model.hidden(found.history[0])[0, prompt.shape[1] :])
        numbers = torch.rand(len(rows), dtype=torch.float64) if temperature else None
        mine = propose(rows, "entropy", temperature, top_p, None, numbers).confidence
        error = float((mine - sample_rows(rows, temperature, top_p, None, "entropy")[0]).abs().max())
        seconds = paired(ours, other, 1 if quick else 3)
        emit(
            Record(
                name,
                *seconds,
                "seconds",
                error,
                {"prompt": prompt.shape[1], "new": length, "steps": steps, "vocabulary": model.vocab_size},
                {"temperature": temperature, "top_p": top_p, "greedy_histories_equal": equal},
                "published loop re-created; error of the rank (negative entropy, nats) on equal logits",
            )
        )


def prompts(texts: Sequence[Sequence[int]], count: int, length: int = PROMPT) -> Tensor:
    """The beginnings of ``count`` texts."""
    return torch.tensor([list(text[:length]) for text in texts[:count]])


def dual_threshold(emit: Emit, model: MaskedLM, texts: list[list[int]], quick: bool) -> None:
    """Completions of 256 tokens in blocks of 32, and 512 held-out holes in windows of 256."""
    prompt = prompts(texts, 1)
    new = LENGTH if not quick else BLOCK
    plain = partial(diffusion_generate, model, prompt, max_new_tokens=new, **PLAIN)
    dual = partial(diffusion_generate, model, prompt, max_new_tokens=new, **DUAL)
    seconds = paired(dual, plain, 1 if quick else 5)
    costs = {name: run() for name, run in (("ours", dual), ("other", plain))}
    details: dict[str, Any] = {
        f"{name}_{what}": getattr(found, what) for name, found in costs.items() for what in ("nfe", "token_forwards")
    }
    windows = holed_windows(texts, 2 if quick else 64, LENGTH, BLOCK)
    scores = {name: fill(model, windows, options) for name, options in (("ours", DUAL), ("other", PLAIN))}
    for name, score in scores.items():
        details |= {f"{name}_exact_match": score.share, f"{name}_hole_passes": score.passes}
        details |= {f"{name}_hole_seconds": score.seconds, "holes": score.holes}
    details["hole_ratio"] = scores["other"].seconds / scores["ours"].seconds
    sizes = {"prompt": PROMPT, "new": new, "block": BLOCK, "threshold": THRESHOLD, "vocabulary": model.vocab_size}
    note = "plain: one token a pass without cache; max error: difference of exact match on held-out holes of 1-8 bytes"
    error = abs(scores["ours"].share - scores["other"].share)
    emit(Record("dual-threshold", *seconds, "seconds", error, sizes, details, note))


def batching(emit: Emit, model: MaskedLM, texts: list[list[int]], quick: bool) -> None:
    """Seconds a token of eight padded prompts together and of one; and the exact match of holes with each cache."""
    new, count = (BLOCK, 2) if quick else (128, 8)
    rows = [text[: PROMPT - 4 * i] for i, text in enumerate(texts[:count])]
    tokens = torch.tensor([[0] * (PROMPT - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (PROMPT - len(row)) + [1] * len(row) for row in rows])
    windows = holed_windows(texts, 2 if quick else 64, LENGTH, BLOCK)
    for name, options in (
        ("batch8", DUAL),
        ("batch8-delayed", DELAYED),
        ("batch8-window", DELAYED | {"window": 4}),
        ("batch8-uncached", {**PLAIN, "block_length": BLOCK, "threshold": THRESHOLD}),
    ):
        together = partial(diffusion_generate, model, tokens, mask, max_new_tokens=new, **options)
        alone = partial(_one_by_one, model, tokens, mask, {"max_new_tokens": new, **options})
        eight, one = paired(together, alone, 1 if quick else 3)
        many, single = together(), alone()
        same = sum(bool(torch.equal(many.completions[i], found.completions[0])) for i, found in enumerate(single))
        score = fill(model, windows, options)
        details: dict[str, Any] = {"passes": many.nfe, "passes_alone": sum(found.nfe for found in single)}
        details |= {
            "equal_rows": same,
            "token_forwards": many.token_forwards,
            "exact_match": score.share,
            "holes": score.holes,
        }
        sizes = {"batch": count, "prompts": f"{PROMPT - 4 * (count - 1)} to {PROMPT}", "new": new, "block": BLOCK}
        emit(
            Record(
                name,
                eight / (count * new),
                one / (count * new),
                "s/token",
                None,
                sizes,
                details,
                "one prompt after the other",
            )
        )


def _one_by_one(model: MaskedLM, tokens: Tensor, mask: Tensor, options: dict[str, Any]) -> list[Generation]:
    return [diffusion_generate(model, tokens[i : i + 1], mask[i : i + 1], **options) for i in range(len(tokens))]


def speculation(emit: Emit, model: MaskedLM, texts: list[list[int]], quick: bool) -> None:
    """Passes of self-speculative decoding against its tokens, and whether they are those of single steps."""
    count, new = (4, 8) if quick else (200, 32)
    equal, passes, tokens, forwards = 0, 0, 0, 0
    ours = other = 0.0
    for text in (texts * count)[:count]:
        shift = 7 * (tokens // new % 16)  # more prompts than texts: other places of the same ones
        prompt = torch.tensor([list(text[shift : shift + PROMPT])])
        began = time.perf_counter()
        mine = diffusion_generate(
            model, prompt, max_new_tokens=new, alg="entropy", strategy="self_speculative", draft=4
        )
        between = time.perf_counter()
        stepwise = diffusion_generate(model, prompt, max_new_tokens=new, alg="entropy")
        ours, other = ours + between - began, other + time.perf_counter() - between
        equal += bool(torch.equal(mine.sequences, stepwise.sequences))
        passes, forwards = passes + mine.nfe, forwards + mine.token_forwards
        tokens += new
    details = {"prompts": count, "equal": equal, "seconds": ours, "other_seconds": other, "token_forwards": forwards}
    note = "passes; other: one a token. Seconds are in the details: drafts cost computation, which a CPU pays for"
    emit(
        Record("self-speculative", passes, tokens, "passes", 1 - equal / count, {"new": new, "draft": 4}, details, note)
    )


def quality(emit: Emit, model: MaskedLM, texts: list[list[int]], quick: bool, figure: str) -> None:
    """Exact match of held-out holes against passes a window, for every strategy; and the oracle's distance."""
    windows = holed_windows(texts, 2 if quick else 32, LENGTH, BLOCK, seed=1)
    points = []
    for name, choices in STRATEGIES.items():
        for options in choices[:1] if quick else choices:
            score = fill(model, windows, options)
            points.append({"strategy": name, **options, **score.to_dict()})
    base = next(p for p in points if p["strategy"] == "blocks")
    best = max(points, key=lambda p: (p["exact_match"] >= base["exact_match"] - 0.01, -p["passes"]))
    details = {"points": points, "holes": base["holes"], "oracle": oracle(quick)}
    if figure:
        draw(points, Path(figure))
    note = f"passes at an exact match within a point of one token a pass in blocks; ours: {best['strategy']}"
    error = max(0.0, base["exact_match"] - best["exact_match"])
    sizes = {"window": LENGTH, "windows": len(windows), "block": BLOCK}
    emit(Record("quality-passes", best["passes"], base["passes"], "passes", error, sizes, details, note))


def oracle(quick: bool) -> list[dict[str, Any]]:
    """How far sampling is from a Markov chain whose conditionals it is given, by passes over its five tokens."""
    chain, draws = example_chain(), 200 if quick else 20_000
    empty = torch.zeros(draws, 0, dtype=torch.long)
    rows = []
    for alg in ("entropy", "maskgit_plus", "origin"):
        for steps in (1, 2, 3, 5):
            found = diffusion_generate(
                chain, empty, max_new_tokens=5, steps=steps, alg=alg, temperature=1.0,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            rows.append(
                {"alg": alg, "steps": steps, "total_variation": chain.distance(found.sequences), "draws": draws}
            )
    return rows


def draw(points: list[dict[str, Any]], path: Path) -> Path:
    """The figure of quality against passes."""
    from tenfold.figures import lines

    series: dict[str, tuple[list[float], list[float]]] = {}
    for point in sorted(points, key=lambda p: p["passes"]):
        x, y = series.setdefault(point["strategy"], ([], []))
        x.append(point["passes"])
        y.append(point["exact_match"])
    return lines(series, path, "passes a window", "exact match of holes", log=(True, False))


def benchmarks(model: str, adapted: str, figure: str, only: str = "") -> Callable[[bool, Emit], None]:
    """The records of the models in these folders.

    Raises UsageError for a record that there is not."""
    small: dict[str, Callable[[Emit, MaskedLM, list[list[int]], bool], None]] = {
        "dual-threshold": dual_threshold,
        "batch8": batching,
        "self-speculative": speculation,
        "quality-passes": partial(quality, figure=figure),
    }
    if only and only not in (*small, "exact"):
        raise UsageError(f"there is no record {only!r}{suggest(only, (*small, 'exact'))}")

    def run(quick: bool, emit: Emit) -> None:
        wanted = [record for name, record in small.items() if only in ("", name)]
        if model != "none" and wanted:
            network = loaded(model)
            texts = held_out(network)
            for record in wanted:
                record(emit, network, texts, quick)
        if adapted != "none" and only in ("", "exact"):
            exact(emit, loaded(adapted), quick)

    return run


def loaded(source: str) -> MaskedLM:
    """A masked model of a run or folder, in float32; "smollm2" is converted here."""
    if source != "smollm2" and not Path(source).is_dir():
        raise UsageError(f"{source} does not exist; train it (results/run.py) or give --model and --adapted")
    model = read_published(source) if source == "smollm2" else api.load(source)
    if not isinstance(model, MaskedLM):
        raise UsageError(f"{source} holds no masked language model; give the run of one")
    return model.float().eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--adapted", default=ADAPTED)
    parser.add_argument("--figure", default="")
    parser.add_argument("--only", default="")
    given, rest = parser.parse_known_args()
    try:
        sys.exit(main("masked_lm", benchmarks(**vars(given)), ("tenfold", "torch", "transformers"), rest))
    except UsageError as error:
        sys.exit(f"benchmarks.masked_lm: {error}")
