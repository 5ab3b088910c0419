"""lm-evaluation-harness itself on a masked model, where it is installed."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tenfold.errors import UsageError
from tenfold.masked_lm import GenerationOptions, MaskedLM, harness_model
from tenfold.text.tokenizer import FileTokenizer
from tests.masked_lm.generating import random_model

lm_eval = pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """One task of each kind of request, on three documents of which one is longer than the model."""
    from lm_eval.api.task import ConfigurableTask

    folder = tmp_path_factory.mktemp("harness")
    lines = [{"q": "two and two", "a": "four"}, {"q": "é " * 200, "a": "x"}, {"q": "", "a": "é日本" * 60}]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "metadata": {"version": 1},
    }
    generation = {"until": ["\n"], "max_gen_toks": 6, "do_sample": True, "temperature": 0.9}
    repeated = [{"name": "all", "filter": [{"function": "take_first_k", "k": 3}]}]
    kinds: list[dict[str, Any]] = [
        {"task": "choose", "output_type": "multiple_choice", "doc_to_choice": ["four", "x"], "doc_to_target": 0},
        {"task": "roll", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}}{{a}}",
         "metric_list": [{"metric": "bits_per_byte"}]},
        {"task": "write", "output_type": "generate_until", "generation_kwargs": generation, "repeats": 3,
         "filter_list": repeated, "metric_list": [{"metric": "exact_match"}]},
    ]  # fmt: skip
    return [ConfigurableTask(config={**common, **kind}) for kind in kinds]


def evaluated(model: Any, tasks: list[Any], **options: Any) -> Any:
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_defaults=False)  # its own thousands take half a minute to be listed
    return lm_eval.simple_evaluate(
        model=model, tasks=tasks, task_manager=known, bootstrap_iters=0, log_samples=True, **options
    )


def test_every_kind_of_request(tasks: list[Any]) -> None:
    model = harness_model(random_model(), GenerationOptions(alg="entropy"), draws=2)
    found = evaluated(model, tasks)
    assert set(found["results"]) == {"choose", "roll", "write"}
    assert found["results"]["choose"]["acc,none"] in (0, 1 / 3, 2 / 3, 1)
    assert found["results"]["roll"]["bits_per_byte,none"] > 1
    for sample in found["samples"]["write"]:
        assert len(set(sample["resps"][0])) == 3  # repeats draw anew
    again = evaluated(harness_model(random_model(), GenerationOptions(alg="entropy"), draws=2), tasks)
    assert again["results"] == found["results"]


def test_chat_templates(tasks: list[Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        evaluated(harness_model(random_model(), draws=1), tasks[2:], apply_chat_template=True)
    model: MaskedLM = random_model()
    model.save_pretrained(tmp_path)
    inner = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    inner.chat_template = "{% for m in messages %}<|pad|eos|>{{ m['content'] }}{% endfor %}<|pad|eos|>"
    model.tokenizer = FileTokenizer(inner)
    adapter = harness_model(model, draws=1, max_tokens=4)
    text = adapter.apply_chat_template([{"role": "user", "content": "ab"}])
    assert adapter.encode(text) == [256, 97, 98, 256]
    assert 256 not in model.tokenizer.encode(text)  # elsewhere it is text
    found = evaluated(adapter, tasks[2:], apply_chat_template=True)
    assert {sample["arguments"][0][0].startswith("<|pad|eos|>") for sample in found["samples"]["write"]} == {True}
