"""The command line, run in this process."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

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
