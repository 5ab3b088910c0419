"""A published network that is trained further in another order, on texts that share no run of words with items."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tenfold import api
from tenfold.errors import UsageError
from tenfold.ordering import ContinuedRecipe, OrderLM, item_runs, read_items, shares_run, start_from
from tenfold.ordering.models.corpus import Documents
from tenfold.ordering.options import SetsAnalysis
from tenfold.ordering.recipes import CONTINUED_RECIPES
from tenfold.settings.changes import change
from tests.text.tokenizers_of_kinds import byte_level

SMALL = {
    "vocabulary": 258, "begin": 256, "end": 257, "width": 16, "layers": 1, "heads": 2, "kv_heads": 1,
    "intermediate": 24, "length": 64, "rope_theta": 1e4,
}  # fmt: skip
QUESTION = "which of these many words in a row are known by heart to all"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    inner = byte_level()
    inner.add_special_tokens(["<s>", "</s>"])
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=258, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=24, max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recipe(start: Path, tmp_path_factory: pytest.TempPathFactory) -> ContinuedRecipe:
    folder = tmp_path_factory.mktemp("data")
    item = {"question": QUESTION, "choices": ["all of them", "none"], "answer": 0}
    (folder / "items.jsonl").write_text(json.dumps(item))
    texts = [f"text number {i} of some that are read" for i in range(40)]
    leak = f"He asked: {QUESTION.upper()}?"
    lines = "".join(json.dumps({"text": text}) + "\n" for text in [*texts, leak])
    (folder / "texts.jsonl").write_text(lines)
    data = {"source": "files", "path": str(folder / "texts.jsonl"), "items": (str(folder / "items.jsonl"),)}
    return change(
        ContinuedRecipe(),
        {
            "model": SMALL,
            "start": str(start),
            "data": {**data, "length": 32, "validation": 0.2, "test": 0.2},
            # A constant rate, so that a run that is extended is the longer one.
            "train": {
                "steps": 4,
                "batch_size": 4,
                "tracker": "none",
                "threads": 1,
                "ema": None,
                "warmup_steps": 0,
                "final_fraction": 1.0,
                "learning_rate": 0.01,
            },
            "evaluation": {"rows": 4},
        },
    )


def test_training_begins_with_the_weights(recipe: ContinuedRecipe, start: Path) -> None:
    task = api.make_task("ordering-continued", recipe)
    network = LlamaForCausalLM.from_pretrained(start)
    tokens = torch.tensor([[256, 1, 2, 3]])
    torch.testing.assert_close(task.model.logits(tokens), network(input_ids=tokens).logits)
    assert task.model.network.lm_head.weight is task.model.network.model.embed_tokens.weight
    with pytest.raises(UsageError, match=r"rms_norm_eps 1e-05, but the model has 1e-06"):
        start_from(OrderLM(change(recipe, {"model": {"norm_epsilon": 1e-6}}).model), str(start))
    with pytest.raises(UsageError, match="do not fit OrderLM"):
        start_from(OrderLM(change(recipe, {"model": {"intermediate": 32}}).model), str(start))


def test_a_run_is_resumed_saved_and_read_backwards(recipe: ContinuedRecipe, tmp_path: Path) -> None:
    whole = api.train(recipe, tmp_path / "whole")
    half = api.train(change(recipe, {"train": {"steps": 2}}), tmp_path / "half", evaluate=False)
    longer = api.resume(half, evaluate=False, train={"steps": 4})
    one, other = (OrderLM.from_pretrained(run.path / "model") for run in (whole, longer))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert one.config.tied
    assert one.network.lm_head.weight is one.network.model.embed_tokens.weight
    assert LlamaForCausalLM.from_pretrained(whole.path / "model").config.tie_word_embeddings
    reader = api.open_language_model(whole.path)
    assert (reader.order, reader.stop, reader.begin) == ("r2l", 257, (256,))
    assert whole.measurements[0].name == "bits_per_token"


def test_a_run_is_tried_on_named_sets(recipe: ContinuedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.ordering.task.place_of", lambda name: recipe.data.items[0])
    task = api.make_task("ordering-continued", recipe)
    task.model.tokenizer = task.corpus.tokenizer
    found = task.analyse(SetsAnalysis(sets=("physics",)), tmp_path)
    assert {row.split for row in found.rows} == {"physics"}
    assert {path.name for path in tmp_path.iterdir()} == set(found.captions)
    with pytest.raises(UsageError, match="no set 'chemistry'"):
        task.analyse(SetsAnalysis(sets=("chemistry",)), tmp_path)
    with pytest.raises(UsageError, match="no set of items is named"):
        task.analyse(SetsAnalysis(), tmp_path)


def test_texts_that_share_a_run_are_left_out(recipe: ContinuedRecipe) -> None:
    corpus = Documents(recipe.model, recipe.data, recipe.start)
    runs = item_runs(read_items(recipe.data.items[0]))
    assert len(runs) == 6  # of 17 and 15 words, whose first two runs are the same
    streams = [split.batch(np.arange(len(split)))["tokens"] for split in corpus.splits]
    text = corpus.tokenizer.decode([t for stream in streams for row in stream for t in row.flip(0).tolist()])
    assert "text number" in text
    assert "ASKED" not in text.upper()
    kept = Documents(recipe.model, change(recipe, {"data": {"items": ()}}).data, recipe.start)
    assert sum(map(len, kept.splits)) > sum(map(len, corpus.splits))
    assert shares_run(f"so, {QUESTION}!", runs)
    assert not shares_run(QUESTION[9:], runs)
    with pytest.raises(UsageError, match="length is 0"):
        shares_run("a", runs, length=0)


def test_the_recipes_are_of_smollm2() -> None:
    recipe = CONTINUED_RECIPES["smollm2-r2l"].recipe
    assert isinstance(recipe, ContinuedRecipe)
    with torch.device("meta"):
        assert sum(p.numel() for p in OrderLM(recipe.model).parameters()) == 134_515_008
    with pytest.raises(UsageError, match="a path is given with files"):
        change(recipe, {"data": {"path": "x"}})
    with pytest.raises(UsageError, match="start is empty"):
        change(recipe, {"start": ""})
