"""The network: bidirectional, right rows, right ids, and the same through every way of loading."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from tenfold.errors import UsageError
from tenfold.masked_lm.config import MaskedLMConfig, SpecialIds
from tenfold.masked_lm.model import MaskedLM, require_bidirectional
from tests.masked_lm.helpers import tiny


@torch.no_grad()
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_the_last_token_moves_the_first_row(family: str) -> None:
    model = tiny(family=family)
    require_bidirectional(model)
    tokens = torch.randint(0, 256, (1, 12))
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 256
    assert (model.hidden(tokens)[:, 0] - model.hidden(changed)[:, 0]).abs().max() > 1e-4


def test_a_causal_network_is_refused() -> None:
    model = tiny()
    model.network.config.is_causal = True  # what an old version of transformers makes of is_causal=False
    with pytest.raises(UsageError, match=r"the network is causal: changing the last token .* transformers >= 5"):
        require_bidirectional(model)


@torch.no_grad()
def test_left_padding_changes_nothing() -> None:
    model, tokens = tiny(), torch.randint(0, 256, (2, 9))
    expected = model.hidden(tokens)
    for pad in (1, 5):
        padded = torch.cat([torch.full((2, pad), 256), tokens], dim=1)
        mask = (torch.arange(9 + pad) >= pad).long().expand(2, -1)
        torch.testing.assert_close(model.hidden(padded, mask)[:, pad:], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(model.hidden(padded, mask.bool())[:, pad:], expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_patterns_of_attention(implementation: str) -> None:
    model, tokens = tiny(), torch.randint(0, 256, (1, 8))
    model.network.set_attn_implementation(implementation)
    causal = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    changed = tokens.clone()
    changed[0, -1] += 1
    ours, theirs = model.hidden(tokens, causal), model.hidden(changed % 256, causal)
    torch.testing.assert_close(ours[:, :-1], theirs[:, :-1])
    floats = torch.where(causal, 0.0, -torch.inf)
    torch.testing.assert_close(model.hidden(tokens, floats), ours, atol=1e-5, rtol=0)


def test_predictor_honours_the_shift() -> None:
    positions = torch.tensor([0, 1, 5])
    assert tiny().predictor(positions).tolist() == [0, 0, 4]
    assert tiny(logit_shift=False).predictor(positions).tolist() == [0, 1, 5]


@pytest.mark.parametrize("shift", [True, False])
def test_forward_equals_the_full_logits(shift: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(logit_shift=shift).double()
    clean = torch.randint(0, 256, (3, 10))
    chosen = torch.rand(3, 10) < 0.5
    chosen[:, 0] = False
    noisy = torch.where(chosen, model.special.mask, clean)
    logits = model.network(input_ids=noisy).logits
    if shift:
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
    expected = -logits.log_softmax(-1).gather(-1, clean[..., None])[..., 0] * chosen
    expected.sum().backward()
    gradient = model.network.lm_head.weight.grad.clone()
    for at_once in (2**24, 3 * 258):  # in one part, and in parts that are computed twice
        monkeypatch.setattr("tenfold.masked_lm.model._LOGITS_AT_ONCE", at_once)
        model.zero_grad()
        nll = model(noisy, clean, chosen)
        torch.testing.assert_close(nll, expected.detach().float(), atol=1e-5, rtol=0)
        nll.sum().backward()
        torch.testing.assert_close(model.network.lm_head.weight.grad, gradient, atol=1e-5, rtol=0)


def test_wrong_masks_and_lengths() -> None:
    model, tokens = tiny(), torch.zeros(2, 8, dtype=torch.long)
    with pytest.raises(UsageError, match=r"attention mask has shape \(2, 5\); expected \(2, 8\) with 0 at padding"):
        model.hidden(tokens, torch.ones(2, 5, dtype=torch.long))
    with pytest.raises(UsageError, match=r"padding mask is torch.float32; expected bool or integers"):
        model.hidden(tokens, torch.ones(2, 8))
    with pytest.raises(UsageError, match=r"a sequence of 65 tokens exceeds the 64 positions"):
        model.hidden(torch.zeros(1, 65, dtype=torch.long))


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ({"mask": 258}, "mask_token_id is 258, outside the vocabulary of 258 tokens"),
        ({"mask": 256}, "mask_token_id and pad_token_id are both 256"),
        ({"mask": 7, "eos": 7}, "mask_token_id and eos_token_id are both 7"),
    ],
)
def test_special_numbers(ids: dict[str, int], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(MaskedLMConfig(), **ids)
    with pytest.raises(UsageError, match=sentence):
        SpecialIds(**{"mask": 257, "pad": 256, **ids}).check(258)


@torch.no_grad()
def test_saved_and_loaded_again(tmp_path: Path) -> None:
    model, tokens = tiny(family="llama", logit_shift=False, tied=True), torch.randint(0, 256, (1, 8))
    model.save_pretrained(tmp_path / "model", {"name": "mine"})
    again = MaskedLM.from_pretrained(tmp_path / "model")
    assert again.config == model.config
    assert (again.special, again.logit_shift) == (model.special, False)
    assert again.tokenizer.encode("a") == [97]
    torch.testing.assert_close(again.hidden(tokens), model.hidden(tokens), atol=0, rtol=0)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["tenfold"]["name"] == "mine"
    stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    expected = model.logits(model.hidden(tokens))
    torch.testing.assert_close(stock(input_ids=tokens).logits, expected, atol=1e-6, rtol=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
