"""The parser of one verb."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tenfold.api.catalogue import recipe, recipes
from tenfold.cli.main import main
from tenfold.errors import UsageError
from tenfold.settings import command
from tenfold.settings.changes import change
from tenfold.settings.command import CommandParser, Given
from tenfold.settings.options import call_reader, options_of
from tenfold.settings.values import expected, write
from tenfold.settings.yaml_files import read_yaml

RECIPES = recipes()


@dataclass(frozen=True)
class Sampling:
    """Options.

    Args:
        num: how many, 100% of them.
        classes: of which class.
        attention_temperature: above 0.
        stop: words.
        denoise: afterwards.
    """

    num: int = 16
    classes: int | None = None
    attention_temperature: float = 1.0
    stop: tuple[str, ...] = ()
    denoise: bool = False


def parser() -> CommandParser:
    found = CommandParser("sample", "RUN [options]", "Draw.", "  tenfold sample runs/a\n")
    found.add_argument("source", metavar="RUN")
    found.add_argument("more", nargs="?")
    found.add_argument("--out", metavar="DIR")
    found.add_argument("--runs", nargs="+")
    found.switch("--json", "print JSON")
    found.add_options(Sampling)
    return found


def parsed(*argv: str) -> Given:
    return parser().parse_args(argv)


def test_defaults() -> None:
    given = parsed("runs/a")
    assert given.as_dict() == {
        "source": "runs/a", "more": None, "out": None, "runs": None, "json": False, "num": 16, "class": None,
        "attention_temperature": 1.0, "stop": (), "denoise": False,
    }  # fmt: skip
    assert given.options(Sampling) == Sampling().__dict__


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--num", "1e3"], "num", 1000),
        (["--class=3"], "class", 3),
        (["--class", "none"], "class", None),
        (["--attention_temperature", "-1e-3"], "attention_temperature", -1e-3),
        (["--attention-temperature", ".5"], "attention_temperature", 0.5),
        (["--stop=--a"], "stop", ("--a",)),
        (["--denoise"], "denoise", True),
        (["--denoise=no"], "denoise", False),
        (["--denoise", "False"], "denoise", False),
        (["--json"], "json", True),
        (["--runs", "a", "b"], "runs", ["a", "b"]),
        (["--out", "-"], "out", "-"),
        (["--num", "1", "--num", "2"], "num", 2),
        (["b"], "more", "b"),
        (["--", "-b"], "more", "-b"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_one_option(argv: list[str], name: str, value: object, first: bool) -> None:
    if first and argv[0].startswith("--") and argv[0] not in ("--runs", "--"):
        line = [*argv, "runs/a"]
    else:
        line = ["runs/a", *argv]
    given = parsed(*line)
    assert given.source == "runs/a"
    assert given[name] == value
    assert type(given[name]) is type(value)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "missing RUN"),
        (["a", "b", "c"], "unexpected argument 'c'; options start with --"),
        (["a", "--num"], "--num needs a value"),
        (["a", "--out"], "--out needs a value"),
        (["a", "--num", "--json"], "--num needs a value"),
        (["a", "--num", "few"], "--num is 'few'; expected a whole number"),
        (["a", "--nun", "3"], "there is no option '--nun'; did you mean '--num'?"),
        (["a", "--nu", "3"], "there is no option '--nu'; did you mean '--num'?"),
        (["a", "-n", "3"], "there is no option '-n'; "),
        (["a", "--denoise=maybe"], "--denoise is 'maybe'; expected true or false"),
        (["a", "--attention-temperature", "nan"], "--attention-temperature is 'nan'; expected a number"),
        (["a", "--runs"], "argument --runs: expected at least one argument"),
    ],
)
def test_refused(argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*argv)
    assert str(error.value).startswith(sentence)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("line", [["--help"], ["-h"], ["--num", "few", "--help", "--what"]])
def test_help(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parsed(*line)
    assert not left.value.code
    page = " ".join(capsys.readouterr().out.split())
    assert page.startswith("usage: tenfold sample RUN [options] Draw.")
    assert "--num NUM how many, 100% of them. (a whole number; default: 16)" in page
    assert "--class CLASS of which class. (a whole number or none)" in page
    assert "--denoise [true|false] afterwards." in page
    assert page.endswith("examples: tenfold sample runs/a")


def test_peek_needs_no_options() -> None:
    line = ["--num", "4", "--fast", "runs/a", "--x=1", "-h", "--y", "--z"]
    assert parser().peek(line, {"--fast"}) == (
        ["runs/a"],
        {"num": "4", "fast": "true", "x": "1", "help": "true", "y": "true", "z": "true"},
    )


def test_peek_asks_for_the_values_of_what_it_knows() -> None:
    with pytest.raises(UsageError, match="--out needs a value"):
        parser().peek(["runs/a", "--out"])


def test_a_file_names_settings_and_arguments_alone(tmp_path: Path) -> None:
    base = recipe("tarflow-digits")
    found = CommandParser()
    found.add_argument("recipe", nargs="?")
    found.add_argument("--out")
    found.add_argument("--config", action="config")
    found.add_settings(base)
    file = tmp_path / "a.yaml"
    file.write_text("format: 1\nrecipe: x\ntrain: {steps: 1e3, clip: none}\n")
    given = found.parse_args(["--config", str(file), "--train.seed", "3"])
    assert given.recipe == "x"
    assert (given.train.steps, given.train.clip, given.train.seed) == (1000, None, 3)
    file.write_text("out: x\n")
    with pytest.raises(UsageError, match="there is no setting 'out'"):
        found.parse_args(["--config", str(file)])


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_is_on_the_page_and_survives_the_line(name: str) -> None:
    base = recipe(name)
    found = CommandParser()
    found.add_settings(base)
    page = " ".join(found.format_help().split())
    argv = []
    for setting, (option, hint) in found._typed.items():
        assert option in page
        assert hint is bool or expected(hint).split(",")[0] in page
        argv += [f"{option}={write(found._initial[setting])}"]
    assert change(base, found.parse_args(argv).as_dict()) == base


@dataclass(frozen=True)
class Geometry:
    """A geometry.

    Args:
        width: of it.
    """

    width: int = 3


def reader(path: str, sigma: float = 0.5, geometry: Geometry | None = None) -> tuple[str, float, Geometry | None]:
    """Read.

    Args:
        path: where.
        sigma: the noise.
    """
    return path, sigma, geometry


def test_options_of_a_reader() -> None:
    assert {n: (o.default, o.help) for n, o in options_of(reader).items()} == {
        "sigma": (0.5, "the noise."), "width": (3, "of it."),
    }  # fmt: skip
    assert call_reader(reader, "a", {"sigma": "0.25", "width": 4}, "toy") == ("a", 0.25, Geometry(4))
    with pytest.raises(UsageError, match="toy takes no option 'sigm' when a checkpoint is read; did you mean 'sigma'"):
        call_reader(reader, "a", {"sigm": 1}, "toy")
    with pytest.raises(UsageError, match="width is 'x'; expected a whole number"):
        call_reader(reader, "a", {"width": "x"}, "toy")


def test_a_file_of_settings_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pipe can be read no more often."""
    (tmp_path / "my.yaml").write_text("recipe: tarflow-digits\ntrain: {steps: 3}\n")
    opened: list[str] = []
    monkeypatch.setattr(command, "read_yaml", lambda file: opened.append(file) or read_yaml(file))
    assert main(["train", "--config", str(tmp_path / "my.yaml"), "--dry-run"]) == 0
    assert len(opened) == 1
