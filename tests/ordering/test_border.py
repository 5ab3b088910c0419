"""What enters by the face: number types, lists, emptiness, NaN and objects of another kind are right, or refused in one
sentence."""

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tenfold.ordering as face
from tenfold.errors import UsageError
from tenfold.ordering.choices.scoring import Losses
from tests.ordering.exact import FOLDER, ExactModel
from tests.sweeping import sweep
from tests.text.test_causal import tiny

CONFIG = face.OrderLMConfig(
    vocabulary=6, begin=3, mask=4, end=5, alphabet="abc", others="drop", length=6, width=16, layers=1, heads=2,
    intermediate=24,
)  # fmt: skip
X = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
PLACES = torch.tensor([[0.1, 0.7, 0.4, 0.2], [0.5, 0.6, 0.1, 0.3]])
ORDER = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])
SCORES = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, -1.5]], dtype=torch.float64)
COUNTS = torch.tensor([[1, 2, 3], [3, 2, 1]])
ANSWER = torch.tensor([2, 0])
P = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], dtype=torch.float64)
ITEMS = [face.ChoiceItem("ab", ("ac", "ba"), 0), face.ChoiceItem("bb", ("ca", "cb"), 1)]
PLAIN = face.ChoiceScoring(reverse="{answer} {question}")
TASK = face.Arithmetic(1)
READER = tiny()
NO_OBJECTS: tuple[Any, ...] = (None, "text", 5, object(), {"a": 1}, face.ChoiceItem)
NO_NUMBERS: tuple[Any, ...] = (2.5, math.nan, True, "three", None, [1], 10**30, -1)


def refused(use: Callable[[], object], what: object) -> None:
    """One sentence of ours; or of the checks of annotations, which tests alone have, of lists of other things."""
    with pytest.raises((UsageError, TypeError)) as error:
        print(f"{what!r} gave", use())
    assert isinstance(error.value, UsageError) or "violates type hint" in str(error.value)
    assert isinstance(error.value, TypeError) or "\n" not in str(error.value)


def network(order: str) -> face.OrderLM:
    torch.manual_seed(0)
    return face.OrderLM(replace(CONFIG, order=order)).eval()


@pytest.fixture(scope="module")
def models() -> dict[str, face.OrderLM]:
    return {order: network(order) for order in ("l2r", "permuted", "masked")}


@pytest.fixture(scope="module")
def exact() -> ExactModel:
    return ExactModel(np.load(FOLDER / "tiny_joint.npz")["joint"])


TENSORS: dict[str, tuple[Callable[..., Any], dict[str, torch.Tensor]]] = {
    "normalised": (face.normalised, {"total": SCORES, "length": COUNTS}),
    "mutual_information": (face.mutual_information, {"total": SCORES, "alone": SCORES / 2}),
    "paradigm_1": (face.paradigm_1, {"question": SCORES, "answer": SCORES / 2, "length": COUNTS}),
    "paradigm_2": (face.paradigm_2, {"question": SCORES, "answer": SCORES / 2}),
    "paradigm_3": (face.paradigm_3, {"question": SCORES}),
    "pick": (face.pick, {"scores": SCORES}),
    "correct": (face.correct, {"scores": SCORES, "answer": ANSWER}),
    "probabilities": (face.probabilities, {"scores": SCORES}),
    "option_entropy": (face.option_entropy, {"scores": SCORES}),
    "rule_scores": (
        face.rule_scores,
        {"total": SCORES, "tokens": COUNTS, "characters": COUNTS, "utf8": COUNTS, "alone": SCORES / 2},
    ),
    "bidirectional": (
        face.bidirectional,
        {"forward": SCORES, "backward": SCORES, "prior": SCORES, "answer_tokens": COUNTS, "question_tokens": COUNTS},
    ),
    "bootstrap": (face.bootstrap, {"values": SCORES[0]}),
    "compare": (face.compare, {"first": SCORES[0] > -1, "second": SCORES[0] < -1}),
    "brier": (face.brier, {"probabilities": P, "answer": ANSWER}),
    "reliability": (lambda **given: face.reliability(**given).error, {"probabilities": P, "answer": ANSWER}),
    "pack": (face.pack, {"tokens": torch.arange(6), "lengths": torch.tensor([2, 4])}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_arrays(name: str) -> None:
    function, given = TENSORS[name]
    if name == "pack":
        function = _packed
    if name == "bidirectional":
        function = _weighed
    if name == "reliability":
        function = _calibration
    sweep(function, given)


def _packed(tokens: Any, lengths: Any) -> Any:
    return face.pack(tokens, lengths, block=2)


def _weighed(forward: Any, backward: Any, prior: Any, answer_tokens: Any, question_tokens: Any) -> Any:
    weights = face.RerankWeights(0.5, 1.0, 0.5, -1.0)
    return face.bidirectional(forward, backward, prior, answer_tokens, question_tokens, weights)


def _calibration(probabilities: Any, answer: Any) -> Any:
    return face.reliability(probabilities, answer).error


def test_networks(models: dict[str, face.OrderLM]) -> None:
    plain, any_order, masked = models["l2r"], models["permuted"], models["masked"]

    def log_prob(tokens: Any) -> Any:
        return face.log_prob(plain, tokens)

    def in_order(tokens: Any, order: Any) -> Any:
        return face.log_prob(any_order, tokens, order)

    def stream(tokens: Any) -> Any:
        return [part for part in face.stream_of(CONFIG, tokens) if part is not None]

    def hidden(tokens: Any, places: Any, share: Any) -> Any:
        return face.hide(tokens, 4, places, share)

    def bound(tokens: Any) -> Any:
        return face.masked_bound(masked, tokens, face.hide(X, 4, PLACES, PLACES[:, 0]))

    def over(tokens: Any) -> Any:
        return face.over_orders(any_order, tokens, orders=2).log_p

    def subset(tokens: Any) -> Any:
        return face.score_subset(any_order, tokens, [1], [0, 2])

    with torch.inference_mode():
        sweep(plain.logits, {"inputs": X})
        sweep(plain.forward, {"inputs": X, "targets": X})
        sweep(any_order.logits, {"inputs": X, "places": ORDER, "after": ORDER + 1})
        sweep(log_prob, {"tokens": X})
        sweep(in_order, {"tokens": X, "order": ORDER})
        sweep(stream, {"tokens": X})
        sweep(hidden, {"tokens": X, "places": PLACES, "share": PLACES[:, 0]})
        sweep(bound, {"tokens": X})
        sweep(over, {"tokens": X})
        sweep(subset, {"tokens": X})


@pytest.mark.parametrize("wrong", [X + 9, X - 3, X[:, :0], torch.zeros(2, 9, dtype=torch.long)])
def test_tokens_that_the_model_does_not_have(models: dict[str, face.OrderLM], wrong: torch.Tensor) -> None:
    model = models["permuted"]
    order = torch.arange(wrong.shape[1]).expand_as(wrong)
    for use in (
        lambda: models["l2r"](wrong, wrong),
        lambda: face.log_prob(models["l2r"], wrong),
        lambda: face.stream_of(CONFIG, wrong),
        lambda: face.over_orders(model, wrong),
        lambda: face.score_subset(model, wrong, [0], []),
        lambda: face.log_prob(model, wrong, order),
    ):
        refused(use, wrong)


def test_numbers_of_texts(models: dict[str, face.OrderLM]) -> None:
    for wrong in (PLACES * math.nan, PLACES + 1, -PLACES):
        refused(lambda wrong=wrong: face.hide(X, 4, wrong, PLACES[:, 0]), wrong)
        refused(lambda wrong=wrong: face.hide(X, 4, PLACES, wrong[:, 0]), wrong)
    for number in NO_NUMBERS:
        refused(lambda number=number: face.hide(X, number, PLACES, PLACES[:, 0]), number)
        refused(lambda number=number: face.over_orders(models["permuted"], X, orders=number), number)
        refused(lambda number=number: face.pack(np.arange(6), np.array([6]), block=number), number)
        refused(lambda number=number: face.request_of_first([1], [2], number, bos=0), number)
        refused(lambda number=number: face.reliability(P, ANSWER, bins=number), number)
        if number != 10**30:
            refused(lambda number=number: face.some_items(ITEMS, number), number)
        refused(lambda number=number: face.measure_choices(_scores(), resamples=number), number)
        refused(lambda number=number: face.rollout_entropy(_uniform, [[0]], length=number), number)
        refused(lambda number=number: face.reader_entropy(READER, [[0]], length=number), number)
        refused(lambda number=number: face.direction_entropies(READER, ITEMS, length=number), number)
        refused(lambda number=number: face.rerank(_scores(), share=number), number)
        refused(lambda number=number: face.RerankWeights(backward=number), number)
        if number not in (-1, 10**30):
            refused(lambda number=number: face.measure_choices(_scores(), seed=number), number)
    assert face.log_prob(models["l2r"], X[:0]).shape == (0, 4)
    refused(lambda: face.masked_bound(models["masked"], X, face.hide(X[:1], 4, PLACES[:1], PLACES[:1, 0])), "others")
    for wrong in NO_OBJECTS:
        refused(lambda wrong=wrong: face.masked_bound(models["masked"], X, wrong), wrong)


def _scores() -> face.ChoiceScores:
    return face.score_choices(ExactModel(np.load(FOLDER / "tiny_joint.npz")["joint"]), ITEMS[:1], PLAIN)


def _uniform(rows: Any) -> np.ndarray:
    return np.full((len(rows), 4), -math.log(4))


def test_objects(models: dict[str, face.OrderLM], exact: ExactModel, tmp_path: Path) -> None:
    scores = face.score_choices(exact, ITEMS, PLAIN)
    results = face.measure_choices(scores, resamples=100)
    reader = tiny()
    losses = Losses()
    uses: list[Callable[[Any], Any]] = [
        lambda o: face.score_choices(o, ITEMS),
        lambda o: face.score_choices(exact, [o]),
        lambda o: face.score_choices(exact, o),
        lambda o: face.measure_choices(o),
        lambda o: face.report_choices(o, results, tmp_path / "a"),
        lambda o: face.report_choices(scores, o, tmp_path / "b"),
        lambda o: face.rerank(o),
        lambda o: face.item_runs(o),
        lambda o: face.item_runs([o]),
        lambda o: face.shares_run("text", o),
        lambda o: face.start_from(o, "smollm2"),
        lambda o: face.start_from(models["l2r"], o),
        lambda o: face.rerank(scores, o) if o is not None else _no(),
        lambda o: face.bidirectional(P, P, P, COUNTS, COUNTS, o),
        lambda o: face.direction_entropies(o, ITEMS),
        lambda o: face.direction_entropies(reader, o),
        lambda o: face.direction_entropies(reader, [o]),
        lambda o: face.reader_entropy(o, [[0]]),
        lambda o: face.reader_entropy(reader, o),
        lambda o: face.reader_entropy(reader, [o]),
        lambda o: face.pruned_pick(o, ITEMS[0]),
        lambda o: face.pruned_pick(reader, o),
        lambda o: face.forward_scores(o, ITEMS[0], "{question}{answer}", losses),
        lambda o: face.backward_scores(exact, o, "{question}{answer}", losses),
        lambda o: face.forward_scores(exact, ITEMS[0], "{question}{answer}", o),
        lambda o: face.reader_of(o),
        lambda o: face.over_orders(o, X),
        lambda o: face.score_subset(o, X, [0], []),
        lambda o: face.log_prob(o, X),
        lambda o: face.stream_of(o, X),
        lambda o: face.operand_entropy(o),
        lambda o: face.mean_pairs(o),
        lambda o: face.position_entropies(o, "forward", "l2r"),
        lambda o: face.arithmetic_items(o, np.array([[1, 2]])),
        lambda o: face.some_items(o, 1),
        lambda o: face.text_lengths([[o, "b"]], "bytes") if not isinstance(o, str) else _no(),
        lambda o: face.ragged([o]),
        lambda o: face.ragged(o),
        lambda o: face.lengths([o]),
        lambda o: face.lengths(o),
        lambda o: face.request(o, [1], bos=0),
        lambda o: face.request([1], o, bos=0),
        lambda o: face.rollout_entropy(_uniform, o),
        lambda o: face.rollout_entropy(_uniform, [o]),
        lambda o: face.rollout_entropy(o if not callable(o) else None, [[0]]),
        lambda o: face.rollout_entropy(lambda rows: o, [[0]]),
        lambda o: face.arithmetic_items(TASK, o),
        lambda o: face.read_items(o),
        lambda o: face.read_text(o),
        lambda o: face.report_choices(scores, results, o) if o != "text" else _no(),
    ]
    for i, use in enumerate(uses):
        for wrong in NO_OBJECTS:
            refused(lambda use=use, wrong=wrong: use(wrong), (i, wrong))
    for order in ("x", "permuted", 5):
        refused(lambda order=order: face.reader_of(models["l2r"], order), order)
    assert not list(tmp_path.iterdir())


def test_every_name_of_the_face_is_swept_or_excused() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    functions = {name for name in face.__all__ if inspect.isfunction(getattr(face, name))}
    assert {name for name in functions if f"face.{name}" not in text} == {"smollm2_choices"}
    # Settings are read by the one reader of settings; the others are results, or made by the functions above.
    results = {
        "ChoiceResults",
        "ChoiceScores",
        "Difference",
        "DirectionEntropy",
        "MeanInterval",
        "OverOrders",
        "Pruned",
    }
    results |= {"Pruned", "Reliability", "Reranked"}
    classes = {name for name in face.__all__ if inspect.isclass(getattr(face, name))}
    settings = {name for name in classes if hasattr(getattr(face, name), "__dataclass_fields__")}
    assert classes - settings - results == {"OrderLM", "OrderTask", "Rollouts"}


def test_arithmetic_of_any_numbers() -> None:
    def results(first: Any, second: Any) -> Any:
        return TASK.result(first, second)

    def items(pairs: Any) -> Any:
        return [item.answer for item in face.arithmetic_items(TASK, pairs)]

    sweep(results, {"first": COUNTS, "second": COUNTS})
    sweep(items, {"pairs": COUNTS[:, :2]})
    sweep(face.Rollouts.mean, {"values": SCORES})
    for number in NO_NUMBERS[:6]:
        refused(lambda number=number: TASK.text(number, 1), number)
        refused(lambda number=number: face.Arithmetic(number), number)


def _no() -> None:
    raise UsageError("left out: this is what the function takes")
