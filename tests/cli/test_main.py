"""The frame around the verbs: help, exit codes, one-line errors, signals."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tenfold.api import catalogue
from tenfold.cli import main as cli
from tenfold.cli.doctor import optional_table
from tenfold.cli.main import guarded, verbs
from tenfold.errors import TenfoldError, UsageError

COMMANDS, RECIPES, SYSTEMS = verbs(), catalogue.recipes(), catalogue.ten()


def test_help_names_every_command(tenfold) -> None:
    done = tenfold("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)


def test_nothing_at_all_prints_help_and_fails(tenfold) -> None:
    done = tenfold()
    assert done.code == 2
    assert "usage: tenfold" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(tenfold, name: str) -> None:
    done = tenfold(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: tenfold {name}")
    assert f"examples:\n  tenfold {name} " in done.out or name in ("list", "doctor")
    assert "(default: null)" not in done.out


def test_version(tenfold) -> None:
    import tenfold as package

    assert tenfold("--version").out == f"tenfold {package.__version__}\n"


def test_what_people_type_first(tenfold, refused) -> None:
    assert tenfold("-V").out == tenfold("--version").out
    assert tenfold("help", "train").out == tenfold("train", "--help").out
    assert "did you mean '--version'?" in refused("--verison")
    assert "'trian'; did you mean 'train'?" in refused("help", "trian")
    assert "missing ACTION (check, convert or render)" in refused("data")


def test_recipes_are_in_one_piece(tenfold) -> None:
    words = tenfold("train", "--help").out.replace(",", " ").replace(";", " ").split()
    assert set(RECIPES) <= set(words)


@pytest.mark.parametrize("name", [*COMMANDS, "train kjv-reward", "train grpo-brackets", "train energy-digits"])
def test_help_is_for_people(tenfold, name: str) -> None:
    text = tenfold(*name.split(), "--help").out
    assert "``" not in text
    assert "Literal[" not in text


def test_doctor(tenfold) -> None:
    found = json.loads(tenfold("doctor", "--json").out)
    assert found["torch"] == torch.__version__
    assert found["devices"][-1] == "cpu"
    assert set(found["systems_ready"]) == {name for name, system in SYSTEMS.items() if system.state == "ready"}
    assert found["extras"]["lm"]["transformers"]
    states = optional_table({"none": {"no-such-package": None}, "one": {"torch": "2"}}).columns[2]._cells
    assert states == ["missing no-such-package: pip install 'tenfold\\[none]'", "here"]


def test_list_says_what_there_is(tenfold) -> None:
    text = tenfold("list").out
    assert all(name in text for name in (*SYSTEMS, *RECIPES))
    content = json.loads(tenfold("list", "--json").out)
    assert [s["name"] for s in content["systems"]] == list(SYSTEMS)
    assert {s["name"]: s["state"] for s in content["systems"]}["tarflow"] == "ready"
    assert [r["name"] for r in content["recipes"]] == list(RECIPES)


def test_one_system_of_the_list(tenfold, refused) -> None:
    found = json.loads(tenfold("list", "--system", "tcsm", "--json").out)
    assert [s["name"] for s in found["systems"]] == ["tcsm"]
    assert "kjv-masked" in {r["name"] for r in found["recipes"]}
    assert "tarflow-digits" not in {r["name"] for r in found["recipes"]}
    every = [
        r["name"] for name in SYSTEMS for r in json.loads(tenfold("list", "--system", name, "--json").out)["recipes"]
    ]
    assert sorted(every) == sorted(RECIPES)  # each belongs to one
    assert "there is no system 'tcm'; did you mean 'tcsm'?" in refused("list", "--system", "tcm")


def test_systems_that_are_there_have_their_parts_and_others_none() -> None:
    # Two are trained as components of other names; one has nothing to train.
    made_of = {"diffucoder": catalogue.systems()["masked-lm"], "tcsm": catalogue.systems()["discrete-diffusion"]}
    for name, system in SYSTEMS.items():
        parts = made_of.get(name, system)
        there = system.state != "not yet"
        if name == "quasiperiodic":
            assert there == ({"discrepancy", "dynamics", "shifts"} <= set(COMMANDS))
            assert not parts.task
        elif name == "detection":
            assert there == ({"data", "detect", "explain-assignment", "score-detections"} <= set(COMMANDS))
            assert parts.task
            assert parts.model
        elif name in made_of:
            assert parts.state == f"a part of {name}"
            assert parts.task
            assert parts.model
        else:
            assert bool(parts.task) == bool(parts.model) == there, name


def test_misspelt_command(refused) -> None:
    assert "'trian'; did you mean 'train'?" in refused("trian")


def test_unknown_option_of_the_frame(refused) -> None:
    assert "there is no option '--verbos'" in refused("--verbos")


def test_settings_can_be_printed_and_read_again(tenfold, tmp_path) -> None:
    first = tenfold("train", "tarflow-digits", "--print-config", "--train.steps", "7")
    assert first.code == 0
    (tmp_path / "a.yaml").write_text(first.out)
    again = tenfold("train", "--config", tmp_path / "a.yaml", "--print-config")
    assert again.out == first.out
    assert "steps: 7" in again.out


def test_print_config_has_the_recipes_defaults(tenfold) -> None:
    text = tenfold("train", "tarflow-digits-noise", "--print-config").out
    assert "noise: gaussian" in text
    assert "recipe: tarflow-digits-noise" in text


@pytest.mark.parametrize(
    "line",
    [
        ("--out", "tarflow-digits", "tarflow-mnist"),
        ("--objective.flip", "tarflow-mnist"),
        ("--train.activation-checkpointing", "true", "tarflow-mnist", "--out", "tarflow-digits"),
    ],
)
def test_the_recipe_is_the_argument_and_no_options_value(tenfold, line) -> None:
    done = tenfold("train", *line, "--print-config")
    assert done.code == 0, done.err
    assert done.out.startswith("recipe: tarflow-mnist\n")
    assert "source: mnist5k" in done.out


def raising(error: BaseException):
    def run(argv: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TenfoldError("the disk\nis full"), 1, "tenfold: the disk is full\n"),
        (UsageError("no"), 2, "tenfold: no\n"),
        (KeyboardInterrupt(), 130, "tenfold: interrupted\n"),
        (OSError(28, "No space left on device", "a.txt"), 1, "tenfold: a.txt: No space left on device\n"),
        (SystemExit("a reason"), 1, "tenfold: a reason\n"),
        (SystemExit(3), 3, ""),
        (KeyError("x"), 1, "tenfold: unexpected KeyError: 'x'; set TENFOLD_TRACEBACK=1 for the traceback\n"),
    ],
)
def test_failures_are_one_line(error, code, words, capsys, monkeypatch) -> None:
    monkeypatch.delenv("TENFOLD_TRACEBACK", raising=False)
    assert guarded(raising(error), []) == code
    assert capsys.readouterr() == ("", words)


def test_the_traceback_can_be_had(monkeypatch) -> None:
    monkeypatch.setenv("TENFOLD_TRACEBACK", "1")
    with pytest.raises(KeyError):
        guarded(raising(KeyError("x")), [])


def test_a_reader_that_leaves_is_no_error() -> None:
    line = f"{sys.executable} -m tenfold.cli.main list | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "1")


def test_exit_codes_of_the_process() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TENFOLD_TRACEBACK"}
    for arguments, code in (
        (["list"], 0),
        (["lst"], 2),
        (["train", "tarflow-digits", "--train.steps", "x"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "tenfold.cli.main", *arguments],
            capture_output=True,
            env=environment,
            timeout=60,
        )
        assert done.returncode == code, done.stderr


def test_bench_needs_a_source_checkout(refused, tmp_path, monkeypatch) -> None:
    import tenfold as package

    monkeypatch.setattr(package, "__file__", str(tmp_path / "tenfold" / "__init__.py"))
    assert "source checkout" in refused("bench", "flows")


def test_bench_runs_the_module_and_passes_its_failure_on(tenfold, refused, tmp_path, monkeypatch) -> None:
    import tenfold as package

    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    text = "import sys\nif __name__ == '__main__':\n    open(sys.argv[3], 'w').write(sys.argv[1])\n"
    (tmp_path / "benchmarks" / "flows.py").write_text(text)
    (tmp_path / "benchmarks" / "masked_lm.py").write_text("if __name__ == '__main__':\n    raise SystemExit(3)\n")
    monkeypatch.setattr(package, "__file__", str(tmp_path / "tenfold" / "__init__.py"))
    assert tenfold("bench", "flows", "--quick", "--json", tmp_path / "out.json").code == 0
    assert (tmp_path / "out.json").read_text() == "--quick"
    assert tenfold("bench", "masked_lm").code == 1
    assert "'flow'; did you mean 'flows'?" in refused("bench", "flow")


def test_main_uses_the_process_arguments(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["tenfold", "--version"])
    assert cli.main() == 0
    assert capsys.readouterr().out.startswith("tenfold ")
