"""What scoring choices costs.

``forward-tokens``: tokens that go through the network for the forward scores of items with long questions, the question
read once for all options, against a row for every option, as an evaluation harness without shared prefixes has it; the
scores of both must agree. ``forward-seconds``: the same by the clock. ``reverse-pruning``: tokens of the questions that
branch and bound reads for paradigm 3, against all of them; the picks must agree. ``packing``: seconds to pack five
million tokens right to left, against a loop over documents in Python that reverses and joins lists.

The network is of random weights in the geometry of a small Llama with bytes as tokens; token counts do not depend on
weights, and how much is pruned does: there a model is trained here on products of two digits, for a minute or two.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.harness import Record, main, paired
from tenfold import api
from tenfold.errors import UsageError
from tenfold.ordering import (
    Arithmetic,
    ChoiceItem,
    ChoiceScoring,
    arithmetic_items,
    pack,
    pruned_pick,
    read_items,
    score_choices,
    some_items,
)
from tenfold.ordering.choices.sets import place_of
from tenfold.text.causal import CausalReader
from tenfold.text.tokenizer import ByteTokenizer
from tenfold.training.streams import numpy_generator

SUM = ChoiceScoring(rules=("sum",))
# Of LogiQA in characters: questions of 660 on average, four options of 60.
QUESTION, OPTION, OPTIONS = (450, 900), (30, 90), 4


def long_items(count: int) -> list[ChoiceItem]:
    """Items as long as LogiQA's, of random words."""
    draws = numpy_generator(0, "benchmark-items")
    words = [bytes(draws.integers(97, 123, draws.integers(2, 9)).tolist()).decode() for _ in range(500)]

    def text(low: int, high: int) -> str:
        size, made = int(draws.integers(low, high)), ""
        while len(made) < size:
            made += f"{words[int(draws.integers(len(words)))]} "
        return made[:size].strip()

    return [ChoiceItem(text(*QUESTION), tuple(text(*OPTION) for _ in range(OPTIONS)), 0) for _ in range(count)]


def small_llama() -> CausalReader:
    """Random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=688, max_position_embeddings=2048,
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval().requires_grad_(False)
    return CausalReader(network, ByteTokenizer(), begin=(256,), stop=257, name="small Llama")


def apart(model: CausalReader, items: list[ChoiceItem]) -> list[np.ndarray]:
    """log p(a | q) with a row of its own for every option, question included."""
    found = []
    for item in items:
        given = [256, *model.encode(item.question)]
        rows = [model.encode(f" {option}") for option in item.choices]
        width = len(given) + max(map(len, rows))
        texts = torch.tensor([[*given, *row, *[0] * (width - len(given) - len(row))] for row in rows])
        model.computed += texts.numel()
        with torch.inference_mode():
            log_p = model.network(input_ids=texts[:, :-1], use_cache=False).logits.float().log_softmax(-1)
        after = log_p[:, len(given) - 1 :].gather(-1, texts[:, len(given) :, None])[..., 0]
        found.append(np.array([float(after[i, : len(row)].sum()) for i, row in enumerate(rows)]))
    return found


def forward_records(count: int, repeats: int) -> list[Record]:
    """Shared questions against separate rows."""
    model = small_llama()
    try:
        items, origin = some_items(read_items(place_of("logiqa")), count), "LogiQA"
    except UsageError:  # it is a download of its own
        items, origin = long_items(count), "random words, as long as LogiQA's"
    ours = [scores.total for scores in score_choices(model, items, SUM).forward]
    shared, model.computed = model.computed, 0
    others = apart(model, items)
    separate = model.computed
    error = max(float(np.abs(a - b).max()) for a, b in zip(ours, others, strict=True))
    sizes = {"items": count, "from": origin}
    seconds = paired(lambda: score_choices(model, items, SUM), lambda: apart(model, items), repeats)
    return [
        Record("forward-tokens", shared, separate, "tokens", error, sizes, note="padding is counted on both sides"),
        Record("forward-seconds", *seconds, "s", error, sizes),
    ]


def pruning_record(steps: int, count: int) -> Record:
    """Branch and bound on a model of products of two digits that reads right to left."""
    train: dict[str, Any] = {"steps": steps, "validate_every": 0, "tracker": "none", "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "run"
        run = api.train("arithmetic-2", where, evaluate=False, model={"order": "r2l_document"}, train=train)
        model: Any = api.open_language_model(run.path)
    pairs = numpy_generator(0, "benchmark-pairs").integers(1, 100, (count, 2))
    items = arithmetic_items(Arithmetic(2), pairs)
    whole = score_choices(model, items, ChoiceScoring(rules=("paradigm-3",))).by_rule()["paradigm-3"]
    found = [pruned_pick(model, item, step=1) for item in items]
    differing = sum(one.pick != int(scores.argmax()) for one, scores in zip(found, whole, strict=True))
    read, of = sum(one.read for one in found), sum(one.of for one in found)
    details = {"training steps": steps, "picks that differ": differing}
    return Record("reverse-pruning", read, of, "tokens", float(differing), {"items": count}, details)


def packing_record(tokens: int, repeats: int) -> Record:
    """Documents of 20 to 2,000 tokens in blocks of 2,048."""
    draws, block = numpy_generator(0, "benchmark-packing"), 2048
    lengths = draws.integers(20, 2000, tokens // 1000)
    stream = draws.integers(3, 50_000, int(lengths.sum()))
    documents = [part.tolist() for part in np.split(stream, np.cumsum(lengths)[:-1])]

    def loop() -> np.ndarray:
        joined: list[int] = []
        for document in documents:
            joined += [1, *reversed(document), 2]
        return np.array(joined[: len(joined) // block * block]).reshape(-1, block)

    def ours() -> np.ndarray:
        return pack(stream, lengths, order="r2l_document", block=block)

    same = float(np.abs(ours() - loop()).max())
    seconds = paired(ours, loop, repeats)
    details = {"tokens per second": len(stream) / seconds[0]}
    return Record("packing", *seconds, "s", same, {"tokens": len(stream), "documents": len(lengths)}, details)


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """All records."""
    for record in forward_records(*((2, 1) if quick else (30, 3))):
        emit(record)
    emit(pruning_record(*((2, 4) if quick else (3000, 200))))
    emit(packing_record(*((200_000, 1) if quick else (5_000_000, 5))))


if __name__ == "__main__":
    sys.exit(main("ordering", benchmarks))
