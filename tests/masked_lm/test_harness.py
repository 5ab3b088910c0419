"""The adapter of lm-evaluation-harness, beneath a stand-in of its base class (tests/clients has the package itself)."""

import sys
import types

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.completion import harness
from tenfold.masked_lm.completion.harness import HarnessOptions, Pair, asked, cut, pair, scores, windows
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.likelihood import mdm_nll
from tests.masked_lm.generating import random_model


@pytest.fixture(scope="module")
def model():
    return random_model()


class Base:
    """What the harness's LM has of its own."""

    def __init__(self):
        self.told = []
        self.cache_hook = types.SimpleNamespace(add_partial=lambda *seen: self.told.append(seen))


@pytest.fixture
def adapter(model, monkeypatch):
    base, package, inner = (types.ModuleType(n) for n in ("lm_eval.api.model", "lm_eval", "lm_eval.api"))
    base.LM = Base
    for name, module in (("lm_eval", package), ("lm_eval.api", inner), ("lm_eval.api.model", base)):
        monkeypatch.setitem(sys.modules, name, module)
    return harness.harness_model(model, GenerationOptions(alg="entropy", temperature=1.0), max_tokens=5, draws=4)


def ask(*args):
    return types.SimpleNamespace(args=args)


def test_without_the_package(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UsageError, match="pip install lm_eval"):
        harness.harness_model(model)


def test_requests_do_not_depend_on_each_other(adapter):
    """Neither on what else is asked, nor on the batch."""
    wanted = [ask("ab", {"until": ["\n"]}), ask("a longer prompt", {"max_gen_toks": 7}), ask("c", {"until": "z"})]
    texts = adapter.generate_until(wanted)
    assert [adapter.generate_until([one])[0] for one in wanted] == texts
    assert "\n" not in texts[0]
    assert "z" not in texts[2]
    pairs = [ask("ab", "cd"), ask("", "x"), ask("abc def", "ghijk")]
    scored = adapter.loglikelihood(pairs)
    alone = [adapter.loglikelihood([one])[0] for one in pairs]
    assert [value for value, _ in alone] == pytest.approx([value for value, _ in scored], rel=1e-5)
    assert [greedy for _, greedy in alone] == [greedy for _, greedy in scored]
    assert all(value < 0 and isinstance(greedy, bool) for value, greedy in scored)
    assert adapter.told[0] == ("generate_until", wanted[0].args, texts[0])


def test_repeats_differ_and_the_seed_repeats_them(adapter):
    wanted = [ask("ab", {"do_sample": True, "max_gen_toks": 12})] * 3
    texts = adapter.generate_until(wanted)
    assert len(set(texts)) == 3
    assert adapter.generate_until(wanted) == texts
    greedy = adapter.generate_until([ask("ab", {"do_sample": False, "temperature": 0.9, "max_gen_toks": 12})] * 2)
    assert greedy[0] == greedy[1]


@pytest.mark.parametrize(
    ("given", "tokens", "changed"),
    [
        ({}, 9, {}),
        ({"max_new_tokens": 3}, 3, {}),
        ({"max_gen_toks": 4, "max_tokens": 8}, 4, {}),
        ({"do_sample": False, "temperature": 0.7}, 9, {"temperature": 0.0}),
        ({"do_sample": True}, 9, {"temperature": 1.0}),
        ({"do_sample": True, "temperature": 0.7}, 9, {"temperature": 0.7}),
        ({"temperature": 0.3, "top_p": 0.5, "top_k": 2, "num_beams": 1}, 9,
         {"temperature": 0.3, "top_p": 0.5, "top_k": 2}),
        ({"top_k": 0, "steps": 2, "alg": "topk_margin"}, 9, {"steps": 2, "alg": "topk_margin"}),
    ],
)  # fmt: skip
def test_arguments_are_obeyed(given, tokens, changed):
    base = GenerationOptions(alg="entropy")
    assert asked(given, base, 9) == (tokens, (), base.with_changes(**changed))
    assert asked({"until": "x"}, base, 9).stop == ("x",)
    assert asked({"until": ["", "y"]}, base, 9).stop == ("y",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_beams": 4}, "beam search"),
        ({"repetition_penalty": 1.2}, "'repetition_penalty' is not known"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0"),
        ({"max_gen_toks": "many"}, "max_gen_toks is 'many'"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"until": [3]}, "until"),
    ],
)
def test_arguments_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        asked(given, GenerationOptions(alg="entropy"), 9)


def test_what_is_too_long_loses_its_beginning(model, adapter):
    most = model.max_positions
    assert cut(model, list(range(10)), most - 4) == (6, 7, 8, 9)
    assert cut(model, [1, 2], 5) == (1, 2)
    with pytest.raises(UsageError, match="ask for fewer tokens"):
        cut(model, [1, 2], most)
    long = "".join(chr(97 + i % 26) for i in range(3 * most))
    (text,) = adapter.generate_until([ask(long, {"max_gen_toks": 5, "do_sample": False})])
    assert adapter.generate_until([ask(long[-(most - 5) :], {"max_gen_toks": 5, "do_sample": False})]) == [text]
    (whole, _), (kept, _) = adapter.loglikelihood([ask(long, "xyz"), ask(long[-(most - 3) :], "xyz")])
    assert whole == pytest.approx(kept, rel=1e-6)
    ((value, greedy),) = adapter.loglikelihood([ask("a", long)])  # longer than the model by itself
    assert value < 0
    assert greedy is False


@pytest.mark.parametrize(("before", "after"), [(1, 0), (1, 3), (1, 8), (5, 4), (20, 30), (7, 7)])
def test_windows_score_every_token_once(before, after):
    whole = list(range(before + after))
    found = list(windows(whole[:before], whole[before:], 8))
    assert [token for part in found for token in part.after] == whole[before:]
    for part in found:
        assert len(part.before) >= 1
        start = part.after[0] - len(part.before)
        assert part.before == whole[max(0, start) : part.after[0]]
        assert len(part.before) == min(8 - len(part.after), part.after[0])


def test_rolling_never_cuts_a_character(adapter, model):
    """Characters of several bytes at every place of the windows' ends: all bytes are scored, none replaced."""
    text = "é" * model.max_positions
    (whole,) = adapter.loglikelihood_rolling([ask(text)])
    tokens = list(text.encode())
    parts = list(windows([model.special.pad], tokens, model.max_positions))
    assert whole == pytest.approx(sum(scores(model, parts, HarnessOptions(draws=4))), rel=1e-6)
    assert sum(len(part.after) for part in parts) == 2 * model.max_positions
    assert adapter.loglikelihood_rolling([ask("")]) == [0.0]


def test_blanks_belong_to_what_follows(model):
    encode = model.tokenizer.encode
    assert pair(model, "a b ", "c", encode) == (encode("a b"), encode(" c"))
    assert pair(model, "  ", "c", encode) == (encode("  "), encode("c"))
    with pytest.raises(UsageError, match="empty"):
        pair(model, "ab", "", encode)


def test_a_model_of_bytes_has_no_chat_template(adapter):
    assert adapter.tokenizer_name == "bytes"
    assert adapter.chat_template() == ""
    with pytest.raises(UsageError, match="no chat template"):
        adapter.apply_chat_template([{"role": "user", "content": "hi"}])


def test_one_token_has_an_exact_likelihood(model):
    tokens = torch.tensor([[97, 98, model.special.mask]])
    logits = model.logits(model.hidden(tokens)[0, model.predictor(torch.tensor(2))])
    found = scores(model, [Pair([97, 98], [99])], HarnessOptions(draws=8))
    assert found == pytest.approx([float(logits.log_softmax(-1)[99])], rel=1e-5)
    likeliest = int(logits[:257].argmax())
    pairs = [Pair([97, 98], [token]) for token in (likeliest, (likeliest + 1) % 257)]
    assert harness.are_greedy(model, pairs, 8) == [True, False]


def test_the_bound_of_two_tokens_is_the_mean_over_orders(model):
    """−bound = mean over both orders of the chain rule, for l uniform in {1, 2}."""
    tokens, maskable = torch.tensor([[97, 98, 99, 100]]), torch.tensor([[False, False, True, True]])
    found = mdm_nll(model, tokens, 150, "count", maskable=maskable)
    (own,) = scores(model, [Pair([97, 98], [99, 100])], HarnessOptions(draws=150))
    assert own == pytest.approx(-float(found.nats), rel=1e-6)
    mask = model.special.mask

    def logp(tokens, place, token):
        row = model.hidden(torch.tensor([tokens]))[0, model.predictor(torch.tensor(place))]
        return float(model.logits(row).log_softmax(-1)[token])

    first = logp([97, 98, mask, mask], 2, 99) + logp([97, 98, 99, mask], 3, 100)
    second = logp([97, 98, mask, mask], 3, 100) + logp([97, 98, mask, 100], 2, 99)
    assert -float(found.nats) == pytest.approx((first + second) / 2, abs=4 * float(found.standard_error))
