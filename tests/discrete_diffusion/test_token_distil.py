"""Distillation over a language model's tokens: rows, what is asked for, and how often."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.discrete_diffusion import (
    DiffusionConfig,
    TokenData,
    TokenDistilObjective,
    TokenDistilRecipe,
    TokenDistilTask,
    TokenEvaluation,
)
from tenfold.discrete_diffusion.steering import token_distil
from tenfold.discrete_diffusion.steering.token_distil import read_tokens
from tenfold.errors import UsageError
from tenfold.training.streams import Draws

WORDS = ["the ", "lord ", "said ", "unto ", "him ", "rare "]


class Words:
    """A tokenizer of words: id 2 i for word i, and 1 before a text."""

    bos_token_id = 1

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [2 * WORDS.index(word + " ") for word in text.split()]}

    def decode(self, ids: list[int]) -> str:
        return WORDS[ids[0] // 2]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> TokenDistilRecipe:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    numbers = torch.randint(0, 5, (800,)).tolist()
    numbers[100] = 5  # one rare word
    monkeypatch.setattr(token_distil, "king_james", lambda: "".join(WORDS[i] for i in numbers))
    config = transformers.LlamaConfig(
        vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    network = transformers.LlamaForCausalLM(config)
    monkeypatch.setattr(token_distil.text_models, "find", lambda *args, **options: None)
    monkeypatch.setattr(token_distil.text_models, "load_causal", lambda found: (Words(), network))
    return TokenDistilRecipe(
        model=DiffusionConfig(vocabulary=5, width=16, layers=1, heads=2, length=8),
        data=TokenData(vocabulary=5, length=8, every=4, rows=16, validation_rows=8),
        objective=TokenDistilObjective(candidates=2, sites=3),
        evaluation=TokenEvaluation(draws=1, rows=8, teacher_rows=4),
    )


def test_rows_of_frequent_tokens(recipe: TokenDistilRecipe) -> None:
    tokenizer = Words()

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    found = read_tokens(recipe.data, encode, lambda i: tokenizer.decode([i]))
    assert found.kept.tolist() == [0, 2, 4, 6, 8]
    assert found.characters.tolist() == [4, 5, 5, 5, 4]
    assert found.share == pytest.approx(0.99)  # the row with the rare word is left out
    assert len(found.train) == 16
    assert all(split.arrays["tokens"].max() < 5 for split in found[:3])
    with pytest.raises(UsageError, match="has 6 different tokens, fewer than"):
        read_tokens(replace(recipe.data, vocabulary=7), encode, lambda i: tokenizer.decode([i]))


def advance(task: Any, steps: int) -> list[dict[str, float]]:
    source, modules = task.train_source(), task.modules()
    optimiser = torch.optim.Adam(modules["model"].parameters(), 1e-2)
    found = []
    for step in range(steps):
        index = (torch.arange(8) + 8 * step) % len(source)
        batch = {"index": index, **source.batch(index.numpy())}
        for update in task.step(modules, batch, Draws(0, step)):
            optimiser.zero_grad()
            update.loss.backward()
            optimiser.step()
            found.append({"loss": float(update.loss.detach()), **{k: float(v) for k, v in update.metrics.items()}})
    return found


def test_the_teacher_is_asked_once(recipe: TokenDistilRecipe) -> None:
    task = TokenDistilTask(recipe)
    found = advance(task, 60)
    # 16 rows: all were asked for in the first two steps.
    assert found[1]["teacher_tokens"] == found[-1]["teacher_tokens"] > 0
    first, last = (sum(f["loss"] for f in part) for part in (found[:12], found[-12:]))
    assert last < first
    row = torch.from_numpy(task.data.train.arrays["tokens"][0].astype(np.int64))
    said = task._ask(row)
    # The target is the teacher's ratio of whole rows, among the candidates.
    model = task.teacher.model
    for site, candidates, log_target in zip(said.sites, said.candidates, said.log_target, strict=True):
        edits = row.expand(3, -1).clone()
        edits[:, site] = candidates
        with torch.no_grad():
            log_p = model.read(edits)[0].gather(-1, edits[..., None])[..., 0].sum(1)
        once = ~torch.tensor([c in candidates[:k] for k, c in enumerate(candidates)])
        expected = log_p.masked_fill(~once, -torch.inf).log_softmax(0)
        torch.testing.assert_close(log_target, expected, atol=1e-5, rtol=0)


def test_evaluation_and_the_share_of_none(recipe: TokenDistilRecipe) -> None:
    task = TokenDistilTask(replace(recipe, objective=TokenDistilObjective(share=0.0)))
    found = advance(task, 3)
    assert set(found[0]) == {"loss", "cross_entropy"}
    rows = {(row.name, row.model): row.value for row in task.evaluate()}
    assert rows["bits_per_token", "teacher"] == pytest.approx(np.log2(5), abs=0.5)  # untrained
    assert rows["bits_per_token", "unigram"] == pytest.approx(np.log2(5), abs=0.3)
    assert rows["bits_per_char", "unigram"] == pytest.approx(rows["bits_per_token", "unigram"] / 4.6, rel=0.05)


def test_bad_input(recipe: TokenDistilRecipe) -> None:
    with pytest.raises(UsageError, match=r"of data.vocabulary \(5\) tokens"):
        TokenDistilTask(replace(recipe, model=replace(recipe.model, vocabulary=6)))
    for make, words in (
        (lambda: TokenData(every=2), "every 2"),
        (lambda: TokenData(rows=-1), "rows is -1"),
        (lambda: TokenDistilObjective(candidates=0), "candidates 0"),
        (lambda: TokenDistilObjective(share=1.5), "share is 1.5"),
        (lambda: TokenDistilObjective(temperature=0.0), "temperature is 0"),
        (lambda: TokenEvaluation(draws=0), "draws is 0"),
    ):
        with pytest.raises(UsageError, match=words):
            make()
