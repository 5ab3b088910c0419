"""One parser for the command line, YAML and Python."""

from dataclasses import replace

import pytest
import yaml

from tenfold import api
from tenfold.errors import UsageError
from tenfold.recipes import RECIPES, recipe
from tenfold.settings.parser import SettingsParser, as_dict, change, changed, rebuild
from tenfold.training.config import TrainingConfig

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
