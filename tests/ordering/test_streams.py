"""Streams in every order, the network that reads them, and what it may not be asked."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.ordering.config import ArithmeticDataConfig, OrderLMConfig
from tenfold.ordering.models.corpus import EquationCorpus, Equations
from tenfold.ordering.models.model import OrderLM
from tenfold.ordering.models.reading import over_orders, reader_of, score_subset
from tenfold.ordering.models.streams import hide, log_prob, masked_bound, stream_of
from tenfold.ordering.recipes import ArithmeticRecipe
from tenfold.text.language_model import LanguageModel

TINY = OrderLMConfig(
    vocabulary=6, begin=3, mask=4, end=5, alphabet="abc", others="drop", length=4, width=16, layers=2, heads=2,
    intermediate=24,
)  # fmt: skip
ORDERS = ("l2r", "r2l_document", "permuted", "masked")
ALL = torch.tensor(list(itertools.product(range(6), repeat=4)))
PERMUTATIONS = list(itertools.permutations(range(4)))


def network(order: str) -> OrderLM:
    torch.manual_seed(1)
    model = OrderLM(replace(TINY, order=order)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(5.0)
    return model.double()


def test_streams() -> None:
    text = torch.tensor([[0, 1, 2]])
    assert [part.tolist() for part in stream_of(TINY, text)[:2]] == [[[3, 0, 1]], [[0, 1, 2]]]
    backward = replace(TINY, order="r2l_document")
    assert [part.tolist() for part in stream_of(backward, text)[:2]] == [[[3, 2, 1]], [[2, 1, 0]]]
    found = stream_of(replace(TINY, order="permuted"), text, torch.tensor([[1, 2, 0]]))
    assert [part.tolist() for part in found] == [[[3, 1, 2]], [[1, 2, 0]], [[0, 2, 3]], [[2, 3, 1]]]
    packed = replace(TINY, packing="documents", order="r2l_block")
    assert [part.tolist() for part in stream_of(packed, text)[:2]] == [[[0, 1]], [[1, 2]]]
    for order in ([[0, 0, 1]], [[1, 2, 3]]):
        with pytest.raises(UsageError, match="is no permutation of 0 to 2"):
            stream_of(replace(TINY, order="permuted"), text, torch.tensor(order))
    with pytest.raises(UsageError, match="only to them; this is l2r"):
        stream_of(TINY, text, torch.tensor([[0, 1, 2]]))


@pytest.mark.parametrize("order", ["l2r", "r2l_document", "permuted"])
def test_every_order_is_a_whole_factorisation(order: str) -> None:
    """Probabilities of all texts of all tokens add up to one, in whatever order they are read."""
    model = network(order)
    for places in [None] if order != "permuted" else [(0, 1, 2, 3), (2, 0, 3, 1)]:
        given = None if places is None else torch.tensor(places).expand(len(ALL), -1)
        assert float(log_prob(model, ALL, given).sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_backward_model_is_a_forward_one_of_reversed_texts() -> None:
    forward, backward = network("l2r"), network("r2l_document")
    backward.load_state_dict(forward.state_dict())
    torch.testing.assert_close(log_prob(backward, ALL.flip(1)), log_prob(forward, ALL))


def test_masks_bound_the_likelihood() -> None:
    """Over all counts and subsets the bound is what the mean over all orders is of the chains they make."""
    model, text = network("masked"), torch.tensor([[0, 2, 1, 1]])
    bound = 0.0
    for count in range(1, 5):
        for subset in itertools.combinations(range(4), count):
            places = torch.tensor([[0.1 if i in subset else 0.9 for i in range(4)]])
            hidden = hide(text, 4, places, torch.tensor([(count - 0.5) / 4]))
            assert hidden.chosen[0].bool().tolist() == [i in subset for i in range(4)]
            bound += float(masked_bound(model, text, hidden)) / math.comb(4, count) / 4
    chains = []
    for order in PERMUTATIONS:
        noisy, total = torch.full_like(text, 4), 0.0
        for place in order:
            total += float(model.logits(noisy).log_softmax(-1)[0, place, text[0, place]])
            noisy[0, place] = text[0, place]
        chains.append(total)
    assert bound == pytest.approx(-np.mean(chains), rel=1e-5)
    with pytest.raises(UsageError, match="no order of its own"):
        log_prob(model, text)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direction", ["l2r", "r2l"])
def test_readers(order: str, direction: str) -> None:
    model = network(order)
    if order in ("l2r", "r2l_document") and (order == "l2r") != (direction == "l2r"):
        with pytest.raises(UsageError, match=r"does not read (left to right|right to left); leave the order out"):
            reader_of(model, direction)
        return
    reader = reader_of(model, direction)
    assert isinstance(reader, LanguageModel)
    assert (reader.order, reader.begin, reader.longest) == (direction, (3,), 5)
    assert reader.encode("a-cb") == [0, 2, 1]
    rows = [[1, 2], [0], [2, 2]]
    found = reader.token_scores([3, 0], rows)
    for row, scores in zip(rows, found, strict=True):
        read = [0, *row]
        text = torch.tensor([read if direction == "l2r" else read[::-1]])
        if order == "masked":
            noisy = torch.full_like(text, 4)
            at = list(range(len(read))) if direction == "l2r" else list(range(len(read)))[::-1]
            expected = []
            for place in at:
                expected.append(float(model.logits(noisy).log_softmax(-1)[0, place, text[0, place]]))
                noisy[0, place] = text[0, place]
        else:
            places = torch.arange(len(read))[None] if direction == "l2r" else torch.arange(len(read)).flip(0)[None]
            expected = log_prob(model, text, places if order == "permuted" else None)[0].tolist()
        np.testing.assert_allclose(scores.log_p, expected[1:], atol=1e-6)
    with pytest.raises(UsageError, match="exceed the 5"):
        reader.token_scores([3, 0, 0, 0], [[1, 1]])
    with pytest.raises(UsageError, match="without tokens"):
        reader.token_scores([3], [[]])


def test_orders_together() -> None:
    model, texts = network("permuted"), ALL[::97]
    found = over_orders(model, texts, orders=5, batch=3)
    assert torch.equal(over_orders(model, texts[:4], orders=2).log_p, found.log_p[:4, :2])
    torch.testing.assert_close(found.mean, found.log_p.exp().mean(1).log())
    assert bool((found.best >= found.mean).all())
    assert bool((found.spread > 0).all())
    # Left to right over a subset is the chain of its own terms.
    places = torch.arange(4).expand(len(texts), -1)
    terms = log_prob(model, texts, places).double()
    torch.testing.assert_close(score_subset(model, texts, [0, 1, 2, 3], []), terms.sum(1))
    torch.testing.assert_close(score_subset(model, texts, [2], [0, 1]), terms[:, 2])
    whole = sum(score_subset(model, ALL, np.array([3]), [1]).exp()[ALL[:, 1] == 0]) / 36
    assert float(whole) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda m: over_orders(m, [[0, 1]], orders=0), "orders is 0"),
        (lambda m: over_orders(m, [[0.5, 1.0]]), "tokens has dtype"),
        (lambda m: over_orders(m, [[True]]), "tokens has dtype torch.bool"),
        (lambda m: over_orders(m, [0, 1]), r"tokens has shape \(2,\)"),
        (lambda m: over_orders(m, [[]]), r"tokens has shape \(1, 0\)"),
        (lambda m: over_orders(m, [[0] * 5]), "at most 4 tokens"),
        (lambda m: over_orders(m, [[6]]), "tokens hold others than 0 to 5"),
        (lambda m: score_subset(m, [[0, 1]], [], [0]), "target is empty"),
        (lambda m: score_subset(m, [[0, 1]], [0], [0]), "stands twice"),
        (lambda m: score_subset(m, [[0, 1]], [2], [0]), "target must be a list of places from 0 to 1"),
        (lambda m: score_subset(m, [[0, 1]], [math.nan], [0]), "target has dtype"),
    ],
)
def test_careless_input(ask: Any, sentence: str) -> None:
    model = network("permuted")
    with pytest.raises(UsageError, match=sentence) as told:
        ask(model)
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match="reads in the order l2r alone"):
        over_orders(network("l2r"), [[0, 1]])


def test_folders_keep_the_order_and_the_tokenizer(tmp_path: Path) -> None:
    for order in ORDERS:
        model = network(order).float()
        model.config = replace(model.config, tokenizer_hash=model.config.characters_hash)
        model.save_pretrained(tmp_path / order)
        again = OrderLM.from_pretrained(tmp_path / order)
        assert again.config == model.config
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "l2r")
    tokens = torch.tensor([[3, 0, 1]])
    torch.testing.assert_close(stock(tokens).logits, OrderLM.from_pretrained(tmp_path / "l2r").logits(tokens))
    file = tmp_path / "l2r" / "config.json"
    changed = json.loads(file.read_text())
    changed["tenfold"]["config"]["alphabet"] = "abd"
    file.write_text(json.dumps(changed))
    with pytest.raises(UsageError, match="another tokenizer than the one that its model was trained with"):
        OrderLM.from_pretrained(tmp_path / "l2r")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heads": 3}, "over 3 heads"),
        ({"kv_heads": 4, "heads": 2}, "kv_heads is 4"),
        ({"begin": 2}, "model.begin is 2; expected a token from 3"),
        ({"end": 6}, "model.end is 6"),
        ({"order": "masked", "mask": None}, "give model.mask its number"),
        ({"order": "r2l_block"}, "set --model.order r2l_document"),
        ({"order": "masked", "packing": "documents"}, "set --model.packing rows"),
        ({"packing": "documents", "end": None}, "give model.end its number"),
        ({"alphabet": "aab"}, "give each character once"),
        ({"rope_theta": math.nan}, "rope_theta"),
        ({"order": "r2l"}, "order"),
    ],
)
def test_configurations_that_are_none(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(TINY, **changes)


@pytest.mark.parametrize("layout", ["forward", "reverse"])
def test_equations_by_number(layout: str) -> None:
    data = ArithmeticDataConfig(1, "+", 1, layout, test=5, validation=4)
    recipe = ArithmeticRecipe(data=data)
    corpus = EquationCorpus(recipe.model, data)
    seen = []
    for split in corpus.splits:
        assert isinstance(split, Equations)
        rows = split.batch(np.arange(len(split)))["tokens"]
        for (m, n), row in zip(split.pairs(np.arange(len(split))), rows, strict=True):
            question, answer = corpus.task.text(int(m), int(n), layout)
            assert corpus.tokenizer.encode(f"{question} {answer}") == row.tolist()
            seen.append((int(m), int(n)))
    assert [len(split) for split in corpus.splits] == [72, 4, 5]
    assert sorted(seen) == [(m, n) for m in range(1, 10) for n in range(1, 10)]
    assert rows.shape[1] == data.length
    other = EquationCorpus(recipe.model, replace(data, split_seed=1)).splits.test
    assert other.fingerprint != corpus.splits.test.fingerprint
    for changes, sentence in (
        ({"test": 90}, "leave none of 81 equations"),
        ({"digits": 5}, "at most 4"),
        ({"lowest": 10}, "leave none of 0"),
    ):
        with pytest.raises(UsageError, match=sentence):
            replace(data, **changes)
    with pytest.raises(UsageError, match=r"set --model\.length 18"):
        ArithmeticRecipe(data=ArithmeticDataConfig(4))
