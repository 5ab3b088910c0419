"""How well a model that reads in an order predicts held-out texts: exact where it has one order, by several orders or
draws of masks where it has none."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.ordering.arithmetic import Arithmetic, arithmetic_items, position_entropies
from tenfold.ordering.choices.measuring import measure_choices
from tenfold.ordering.choices.scoring import score_choices
from tenfold.ordering.config import OrderLMConfig
from tenfold.ordering.models.corpus import EquationCorpus, Equations
from tenfold.ordering.models.model import OrderLM
from tenfold.ordering.models.reading import over_orders, reader_of
from tenfold.ordering.models.streams import hide, log_prob, masked_bound, stream_of
from tenfold.ordering.options import ArithmeticEvaluation, ChoiceScoring, OrderEvaluation
from tenfold.runs.measurement import Measurement
from tenfold.text.bounds import LikelihoodBound
from tenfold.text.ngrams import Unigram, best_order
from tenfold.training.streams import Draws
from tenfold.training.task import device_of


def measure_texts(
    model: OrderLM, tokens: Int[Tensor, "b n"], options: OrderEvaluation, unit: str, name: str
) -> list[Measurement]:
    """Bits for each ``unit`` ("char", "token") of rows of the test split."""
    tokens = tokens.to(device_of(model))
    size = tokens.shape[1] - (model.config.packing == "documents")
    rows = []
    match model.config.order:
        case "masked":
            values = _masked(model, tokens, options)
            rows.append(_bits(values, size, f"≤: {options.orders} draws of masks a row", unit, name))
        case "permuted":
            found = over_orders(model, tokens, orders=options.orders, seed=options.seed, batch=options.batch)
            rows.append(_bits(-found.log_p, size, f"the mean of {options.orders} random orders", unit, name))
            rows.append(_bits(-found.mean[:, None], size, "mixture of the orders", unit, name, "_averaged"))
            rows.append(_bits(-found.best[:, None], size, "best of the orders, no likelihood", unit, name, "_best"))
            places = torch.arange(tokens.shape[1], device=tokens.device)
            for word, order in (("l2r", places), ("r2l", places.flip(0))):
                values = -_in_parts(model, tokens, options.batch, order)
                rows.append(_bits(values[:, None], size, f"read {word}", unit, name, f"_{word}"))
            spread = found.spread
            error = float(spread.std() / math.sqrt(len(spread))) if len(spread) > 1 else math.nan
            note = "standard deviation of log p(x) over orders, the mean over texts"
            rows.append(Measurement("order_spread", float(spread.mean()), "nats", "test", name, error, note=note))
        case _:
            values = -_in_parts(model, tokens, options.batch, None)
            rows.append(_bits(values[:, None], size, f"exact, {model.config.order}", unit, name))
    rows.append(Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name))
    return rows


@torch.inference_mode()
def _in_parts(model: OrderLM, tokens: Int[Tensor, "b n"], batch: int, order: Tensor | None) -> Float[Tensor, " b"]:
    parts = []
    for part in tokens.split(batch):
        places = None if order is None else order.expand(len(part), -1)
        parts.append(log_prob(model, part, places).double().sum(1).cpu())
    return torch.cat(parts)


@torch.inference_mode()
def _masked(model: OrderLM, tokens: Int[Tensor, "b n"], options: OrderEvaluation) -> Float[Tensor, "b m"]:
    assert model.config.mask is not None  # the configuration made sure
    index = torch.arange(len(tokens), device=tokens.device)
    found = torch.empty(len(tokens), options.orders, dtype=torch.float64)
    for m in range(options.orders):
        draws = Draws(options.seed, m)
        places, share = draws.uniform("places", index, (tokens.shape[1],)), draws.uniform("share", index)
        for rows in torch.arange(len(tokens)).split(options.batch):
            here = rows.to(tokens.device)
            hidden = hide(tokens[here], model.config.mask, places[here], share[here])
            found[rows, m] = masked_bound(model, tokens[here], hidden).double().cpu()
    return found


def _bits(values: Float[Tensor, "b m"], size: int, note: str, unit: str, model: str, suffix: str = "") -> Measurement:
    counts = torch.full((len(values),), size)
    draws = values.shape[1]
    error = values.std(1) / math.sqrt(draws) if draws > 1 else torch.zeros(len(values), dtype=torch.float64)
    value, spread = LikelihoodBound(values.mean(1), error, counts, draws, note).bits_per_token()
    name = f"bits_per_{unit}{suffix}"
    return Measurement(name, value, f"bits/{unit}", "test", model, spread, draws if draws > 1 else None, note)


def counting(data: CharacterSplits, test: Int[Tensor, "b n"]) -> list[Measurement]:
    """The add-one unigram, and the back-off model of the order that is best on the validation split."""
    symbols, stream = len(data.alphabet), data.stream.astype(np.int64)
    held_out = list(data.validation.some(512).arrays["tokens"].astype(np.int64))
    best = best_order(stream, held_out, symbols=symbols)
    found = []
    for name, counter, note in (
        ("unigram", Unigram(stream, symbols), "one added to each count"),
        ("back-off", best, f"Witten-Bell, {best.order - 1} characters of context"),
    ):
        bits = torch.tensor([[float(counter.cost(line).sum())] for line in test.numpy()], dtype=torch.float64)
        found.append(_bits(bits * math.log(2), test.shape[1], note, "char", name))
    return found


# --- arithmetic -------------------------------------------------------------------------------------------------------


def measure_equations(
    model: OrderLM, corpus: EquationCorpus, options: ArithmeticEvaluation, name: str
) -> list[Measurement]:
    """Of held-out equations, digit by digit in the order in which the model emits them: the cross-entropy, the entropy
    of the model itself, and the exact entropy; the operands given the result, and multiple choice."""
    test = corpus.splits.test
    assert isinstance(test, Equations)  # the corpus made it
    test = test.some(options.rows)
    pairs = test.pairs(np.arange(len(test)))
    config, task = model.config, corpus.task
    if config.direction == "any":
        rows = measure_texts(model, test.batch(np.arange(len(test)))["tokens"], OrderEvaluation(), "token", name)
    else:
        rows = _by_position(model, test, task, options, name)
    if options.items:
        chosen = pairs[: options.items]
        zero = (chosen == 0).any(1) if options.distractors == "clean" else np.zeros(len(chosen), bool)
        items = arithmetic_items(
            task, chosen[~zero], layout=corpus.config.layout, distractors=options.distractors, seed=options.seed
        )
        rule = "paradigm-3" if config.direction == "r2l" else "sum"
        scores = score_choices(reader_of(model, name=name), items, ChoiceScoring(rules=(rule,)))
        (found,) = measure_choices(scores, seed=options.seed).rules
        error = math.sqrt(found.accuracy.value * (1 - found.accuracy.value) / len(items))
        note = f"{rule}: {found.normaliser}; {len(items)} items of four options, {options.distractors} distractors"
        rows.append(Measurement("choice_accuracy", found.accuracy.value, "", "test", name, error, note=note))
    return rows


def position_table(
    model: OrderLM, test: Equations, task: Arithmetic, batch: int = 256
) -> tuple[Float64[np.ndarray, "b length"], Float64[np.ndarray, "b length"], Float64[np.ndarray, " length"]]:
    """For the digits in the order of their emission, operator and sign of equality left out: −log p of held-out
    equations, the model's entropy after what came before, both (b, length), and the exact entropy (length,); nats."""
    config, tokens = model.config, test.batch(np.arange(len(test)))["tokens"]
    exact = position_entropies(task, test.layout, "r2l" if config.direction == "r2l" else "l2r")
    surprise, entropy = [], []
    with torch.inference_mode():
        for part in tokens.split(batch):
            stream = stream_of(config, part.to(device_of(model)))
            log_p = model.logits(stream.inputs).double().log_softmax(-1)
            surprise.append(-log_p.gather(-1, stream.targets[..., None])[..., 0].cpu())
            entropy.append(-(log_p.exp() * log_p).sum(-1).cpu())
    digit = stream.targets[0].cpu() < 10  # the same places in every equation
    return torch.cat(surprise)[:, digit].numpy(), torch.cat(entropy)[:, digit].numpy(), exact


def operand_places(task: Arithmetic, layout: str, direction: str) -> slice:
    """Which of the emitted digits are the operands'.

    >>> operand_places(Arithmetic(2), "forward", "r2l")
    slice(4, 8, None)
    """
    first = (layout == "forward") == (direction == "l2r")
    return slice(0, 2 * task.digits) if first else slice(task.result_digits, task.length)


def _by_position(
    model: OrderLM, test: Equations, task: Arithmetic, options: ArithmeticEvaluation, name: str
) -> list[Measurement]:
    surprise, entropy, exact = position_table(model, test, task, options.batch)
    root = math.sqrt(len(surprise)) if len(surprise) > 1 else math.nan
    rows = []
    for kind, values, note in (
        ("cross_entropy", surprise, "of held-out equations under the model"),
        ("model_entropy", entropy, "of the model itself, after what came before"),
    ):
        for place in range(task.length):
            column = values[:, place]
            rows.append(
                Measurement(
                    f"{kind}_{place + 1:02d}", float(column.mean()), "nats", "test", name,
                    float(column.std(ddof=1)) / root if len(column) > 1 else None, note=note,
                )
            )  # fmt: skip
    rows += [
        Measurement(f"cross_entropy_{place + 1:02d}", float(value), "nats", "test", "exact", note="entropy, exact")
        for place, value in enumerate(exact)
    ]
    direction = "r2l" if model.config.direction == "r2l" else "l2r"
    operands = operand_places(task, test.layout, direction)
    given = operands.start > 0
    what = "H(m, n | result)" if given else "H(m, n)"
    for kind, values in (("cross_entropy", surprise), ("model_entropy", entropy)):
        total = values[:, operands].sum(1)
        error = float(total.std(ddof=1)) / root if len(total) > 1 else None
        rows.append(Measurement(f"operands_{kind}", float(total.mean()), "nats", "test", name, error, note=what))
        whole = values.sum(1)
        error = float(whole.std(ddof=1)) / root if len(whole) > 1 else None
        rows.append(Measurement(f"equation_{kind}", float(whole.mean()), "nats", "test", name, error))
    rows.append(Measurement("operands_cross_entropy", float(exact[operands].sum()), "nats", "test", "exact", note=what))
    rows.append(Measurement("equation_cross_entropy", float(exact.sum()), "nats", "test", "exact", note="ln N"))
    return rows


def unit_of(config: OrderLMConfig) -> str:
    """What a token is."""
    return "char" if config.alphabet else "token"
