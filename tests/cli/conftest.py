"""The command line, run in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tenfold import api
from tenfold.cli.main import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def tenfold(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``tenfold("train", ...)`` returns exit code, standard output and standard error."""
    monkeypatch.delenv("TENFOLD_TRACEBACK", raising=False)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def refused(tenfold: Callable[..., Done]) -> Callable[..., str]:
    """Run a line that must be refused with exit code 2 and one sentence; returns the sentence."""

    def run(*arguments: object) -> str:
        done = tenfold(*arguments)
        assert done.code == 2, (done.code, done.out, done.err)
        assert done.out == ""
        assert done.err.startswith("tenfold: ")
        assert done.err.endswith("\n")
        assert done.err.count("\n") == 1, done.err
        assert "Traceback" not in done.err
        return done.err

    return run


TINY = {"width": 64, "blocks": 2, "layers": 1}
SHORT = {"steps": 2, "batch_size": 16, "tracker": "none", "threads": 1}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs: "likelihood" (unconditional, uniform noise) and "noise" (by class, Gaussian noise)."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, recipe in (("likelihood", "tarflow-digits"), ("noise", "tarflow-digits-noise")):
        api.train(recipe, folder / name, evaluate=False, train=SHORT, model=TINY)
        made[name] = folder / name
    return made
