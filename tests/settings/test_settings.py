"""One parser for the command line, YAML and Python."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tenfold import api
from tenfold.api.catalogue import recipe, recipes
from tenfold.errors import UsageError
from tenfold.settings.changes import as_dict, change, changed, hints_of, rebuild
from tenfold.settings.command import CommandParser as SettingsParser
from tenfold.settings.values import read, write
from tenfold.training.config import TrainingConfig

RECIPES = recipes()

DIGITS = recipe("tarflow-digits")


def parsed(*argv: str) -> dict[str, tuple[object, object]]:
    parser = SettingsParser()
    parser.add_argument("--config", action="config")
    parser.add_settings(DIGITS)
    return changed(DIGITS, rebuild(DIGITS, parser.parse_args(list(argv)).as_dict()))


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--train.steps", "7"], "train.steps", 7),
        (["--train.steps=7"], "train.steps", 7),
        (["--train.batch-size", "7"], "train.batch_size", 7),
        (["--train.learning_rate", "3e-4"], "train.learning_rate", 3e-4),
        (["--train.clip", "none"], "train.clip", None),
        (["--train.betas", "0.8,0.9"], "train.betas", (0.8, 0.9)),
        (["--model.shape", "1,16,8"], "model.shape", (1, 16, 8)),
        (["--model.shape", "[1, 16, 8]"], "model.shape", (1, 16, 8)),
        (["--model.shape=(1,16,8)"], "model.shape", (1, 16, 8)),
        (["--objective.flip"], "objective.flip", True),
        (["--objective.flip", "true"], "objective.flip", True),
        (["--evaluation.baselines", "false"], "evaluation.baselines", False),
        (["--model.layout", "channel_last"], "model.layout", "channel_last"),
    ],
)
def test_one_setting(argv: list[str], name: str, value: object) -> None:
    assert {k: new for k, (_, new) in parsed(*argv).items()} == {name: value}


def test_nothing_changes_nothing() -> None:
    assert parsed() == {}


def test_a_switch_does_not_swallow_the_next_option() -> None:
    assert set(parsed("--objective.flip", "--train.steps", "3")) == {"objective.flip", "train.steps"}


def test_the_command_line_wins_over_the_file_in_any_order(tmp_path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("train: {steps: 5, seed: 9}\n")
    for argv in (["--config", file, "--train.steps", "7"], ["--train.steps", "7", f"--config={file}"]):
        found = parsed(*map(str, argv))
        assert {k: new for k, (_, new) in found.items()} == {"train.steps": 7, "train.seed": 9}


def test_python_takes_dictionaries_and_dataclasses() -> None:
    assert change(DIGITS, {"train": {"steps": 3}}).train == replace(DIGITS.train, steps=3)
    assert change(DIGITS, {"train": TrainingConfig(steps=3)}).train == TrainingConfig(steps=3)
    assert change(DIGITS, {"model": {"shape": (1, 16, 16)}}).model.shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"stps": 3}}, ["train.stps", "did you mean 'train.steps'"]),
        ({"trian": {"steps": 3}}, ["trian.steps", "did you mean 'train.steps'"]),
        ({"train": {"steps": "x"}}, ["train.steps is 'x'", "whole number"]),
        ({"train": {"steps": 1.5}}, ["train.steps is '1.5'", "whole number"]),
        ({"train": 3}, ["train is 3", "settings by name"]),
        ({"model": {"patch": 3}}, ["3x3", "divides both sides"]),
    ],
)
def test_python_mistakes_are_one_sentence(changes: dict, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        change(DIGITS, changes)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_yaml(name: str) -> None:
    text = yaml.safe_dump(api.settings_of(name, recipe(name)))
    assert api.read_settings(yaml.safe_load(text)) == (name, recipe(name))


def test_plain_dictionaries_hold_no_tuples() -> None:
    assert as_dict(DIGITS)["model"]["shape"] == [1, 8, 8]


def test_settings_without_a_recipe_are_refused() -> None:
    with pytest.raises(UsageError, match="names no recipe"):
        api.read_settings({"train": {"steps": 3}})


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_dictionary(name: str) -> None:
    known = recipe(name)
    assert change(known, as_dict(known)) == known
    assert change(known, json.loads(json.dumps(as_dict(known)))) == known
    assert changed(known, rebuild(known, as_dict(known))) == {}


@given(st.sampled_from(list(RECIPES)), st.data())
def test_any_of_a_recipes_settings_can_be_said_in_text(name: str, data: st.DataObject) -> None:
    known = recipe(name)
    hints = hints_of(known)
    said: dict[str, object] = {}
    for setting in data.draw(st.sets(st.sampled_from(list(hints)), max_size=5)):
        inner = known
        for part in setting.split("."):
            inner = getattr(inner, part)
        said[setting] = read(hints[setting], write(inner), setting, text=True)
    assert change(known, said) == known


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {}, "trian": {}}, ["there is no setting 'trian'"]),
        ({"train": None}, ["train is None", "settings by name"]),
        ({"train": {"steps": {"a": 1}}}, ["train.steps is", "whole number"]),
        ({"train": {"steps": True}}, ["train.steps is 'True'", "whole number"]),
        ({"train": {"learning_rate": float("nan")}}, ["train.learning_rate is nan", "a number"]),
        ({"objective": {"flip": 1}}, ["objective.flip is '1'", "true or false"]),
        ({"model": {"layout": "channel_lst"}}, ["model.layout", "did you mean 'channel_last'"]),
        ({3: 4}, ["there is no setting '3'"]),
    ],
)
def test_hostile_changes(changes: dict, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        change(DIGITS, changes)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_what_was_set_in_python_is_checked_too() -> None:
    train = replace(DIGITS.train)
    object.__setattr__(train, "compile", "false?")  # the tests' hook checks what is given to __init__
    with pytest.raises(UsageError, match=r"train\.compile is 'false\?'; expected true or false"):
        change(replace(DIGITS, train=train), {})


def test_numbers_of_other_libraries_become_plain() -> None:
    found = change(DIGITS, {"train": {"steps": np.int64(7), "betas": np.array([0.5, 0.75])}})
    assert type(found.train.steps) is int
    assert found.train.betas == (0.5, 0.75)
    yaml.safe_dump(as_dict(found))
