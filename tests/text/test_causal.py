"""A stock causal network as a language model: what is shared through its cache is what is computed anew."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.text.causal import CausalReader, _scored
from tenfold.text.language_model import LanguageModel, beginning, split_tokens
from tenfold.text.tokenizer import ByteTokenizer


def tiny(seed: int = 0, **options: Any) -> CausalReader:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=64, bos_token_id=256, eos_token_id=257,
    )  # fmt: skip
    network = LlamaForCausalLM(config).double().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(8.0)  # sharp enough that texts differ
    return CausalReader(network, ByteTokenizer(), **{"begin": (256,), "stop": 257, **options})


@pytest.fixture(scope="module")
def model() -> CausalReader:
    return tiny()


def anew(model: CausalReader, stem: list[int], row: list[int]) -> np.ndarray:
    """log p of a row's tokens from one pass over all, without a cache."""
    tokens = torch.tensor([[*stem, *row]])
    log_p = model.network(input_ids=tokens, use_cache=False).logits.log_softmax(-1)[0]
    return np.array([float(log_p[len(stem) + i - 1, token]) for i, token in enumerate(row)])


ROWS = [[1, 2, 3, 4, 5], [7], [9, 9], [200, 3, 1, 1]]


def test_a_shared_stem_is_what_separate_texts_are(model: CausalReader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(model, LanguageModel)
    stem = [256, 65, 66, 67, 68]
    before = model.computed
    found = model.token_scores(stem, ROWS)
    assert model.computed - before == len(stem) + 4 * 4  # the stem once, and rows but their first tokens, filled up
    for row, scores in zip(ROWS, found, strict=True):
        np.testing.assert_allclose(scores.log_p, anew(model, stem, row), atol=1e-9)
    monkeypatch.setattr("tenfold.text.causal._LOGITS_AT_ONCE", 1)  # one row at a time, from a cache that is kept
    for one, other in zip(model.token_scores(stem, ROWS), found, strict=True):
        np.testing.assert_allclose(one.log_p, other.log_p, atol=1e-9)
        assert (one.greedy == other.greedy).all()


def test_the_vocabulary_is_projected_where_something_is_scored(model: CausalReader) -> None:
    read: list[int] = []
    hook = model.network.lm_head.register_forward_hook(lambda module, given, out: read.append(out.shape[:-1].numel()))
    model.token_scores([256, 65, 66], ROWS)
    hook.remove()
    assert read == [1, sum(len(row) - 1 for row in ROWS)]


def test_what_stands_behind_the_head_counts() -> None:
    """Gemma caps its logits after the projection."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=258, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=16, final_logit_softcapping=0.5, max_position_embeddings=64,
    )  # fmt: skip
    network = Gemma2ForCausalLM(config).double().eval().requires_grad_(False)
    network.lm_head.weight.mul_(200.0)
    reader = CausalReader(network, ByteTokenizer(), begin=(256,))
    for row, scores in zip(ROWS, reader.token_scores([256, 7], ROWS), strict=True):
        np.testing.assert_allclose(scores.log_p, anew(reader, [256, 7], row), atol=1e-9)


def test_pieces_of_scores_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties, too: of equal tokens the first is the likeliest."""
    draws = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 3, (40, 7), generator=draws).double()
    targets = torch.randint(0, 7, (40,), generator=draws)
    monkeypatch.setattr("tenfold.text.causal._LOGITS_IN_CACHE", 20)
    log_p, greedy = _scored(logits, targets)
    torch.testing.assert_close(log_p, logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0])
    assert torch.equal(greedy, logits.argmax(-1) == targets)
    assert 0 < greedy.sum() < (logits.amax(-1) == logits.gather(-1, targets[:, None])[:, 0]).sum()


def test_greedy_tokens_are_the_likeliest(model: CausalReader) -> None:
    stem = [256, 10]
    row: list[int] = []
    for _ in range(3):
        row.append(int(model.next_token(np.array([[*stem, *row]]))[0].argmax()))
    (scores,) = model.token_scores(stem, [row])
    assert scores.greedy.all()
    (scores,) = model.token_scores(stem, [[*row[:2], (row[2] + 1) % 258]])
    assert scores.greedy.tolist() == [True, True, False]


def test_next_tokens_are_distributions(model: CausalReader) -> None:
    log_p = model.next_token(np.array([[256, 1], [256, 2]]))
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0)
    np.testing.assert_allclose(log_p[0, 5], anew(model, [256, 1], [5])[0], atol=1e-9)


def test_ragged_prefixes_go_on_together(model: CausalReader) -> None:
    prefixes = [[256, 1], [256, 4, 5, 6], [256]]
    branch = model.continued(prefixes)
    first = branch.advance([30, 31])
    fork = branch.fork([1])
    branch.keep([2, 0])
    second = branch.advance([32])
    for i, prefix in enumerate(prefixes):
        np.testing.assert_allclose(first[i], anew(model, prefix, [30, 31]), atol=1e-9)
    expected = [anew(model, prefixes[i], [30, 31, 32])[2:] for i in (2, 0)]
    np.testing.assert_allclose(second, expected, atol=1e-9)
    np.testing.assert_allclose(fork.advance([40])[0], anew(model, prefixes[1], [30, 31, 40])[2:], atol=1e-9)
    with pytest.raises(UsageError, match="0 tokens after 5 cannot be read"):
        branch.advance([])
    with pytest.raises(UsageError, match="90 tokens after 5"):
        branch.advance([1] * 90)


def test_parts_of_a_text(model: CausalReader) -> None:
    assert split_tokens(model, "ab", " c") == ([97, 98], [32, 99], True)

    class Merging(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.replace("b c", "X"))

    merging = tiny()
    merging.tokenizer = Merging()
    assert split_tokens(merging, "ab", " c") == ([97, 98], [32, 99], False)
    with pytest.raises(UsageError, match="'' has no tokens"):
        split_tokens(model, "ab", "")


def test_beginnings() -> None:
    assert beginning(tiny()) == [256]
    assert beginning(tiny(begin=(), opening=5)) == [5]
    with pytest.raises(UsageError, match="neither a token of the begin nor of the end"):
        beginning(tiny(begin=()))


@pytest.mark.parametrize(
    ("stem", "rows", "sentence"),
    [
        ([], [[1]], "without tokens"),
        ([1], [], "was given no row"),
        ([1], [[1], []], "without tokens"),
        ([1], [[258]], "token 258 is outside"),
        ([-1], [[2]], "token -1 is outside"),
        ([1] * 60, [[2] * 5], "65 tokens exceed the 64"),
    ],
)
def test_what_cannot_be_read(model: CausalReader, stem: list[int], rows: list[list[int]], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as told:
        model.token_scores(stem, rows)
    assert "\n" not in str(told.value)


def test_damaged_weights_and_strange_settings() -> None:
    broken = tiny()
    broken.network.lm_head.weight[3] = math.nan
    with pytest.raises(UsageError, match="not finite"):
        broken.token_scores([256], [[3]])
    with pytest.raises(UsageError, match="not finite"):
        broken.continued([[256]]).advance([3])
    with pytest.raises(UsageError, match="order is 'up'"):
        tiny(order="up")
    with pytest.raises(UsageError, match="token 999 is outside"):
        tiny(stop=999)
