"""The demonstration, over two runs that were trained for a moment."""

from pathlib import Path

import pytest

from tenfold import api
from tenfold.cli import demo
from tenfold.errors import TenfoldError, UsageError

pytestmark = pytest.mark.long


def test_the_demonstration_ends_with_a_table_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in demo.RECIPES:
        api.train(
            name,
            tmp_path / name,
            evaluate=False,
            train={"steps": 2, "batch_size": 16, "tracker": "none"},
            model={"blocks": 2, "layers": 1},
            evaluation={"baselines": False, "draws": 2, "importance": 2},
        )
    capsys.readouterr()
    assert demo.run([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in demo.RECIPES)
    assert out.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in demo.RECIPES)
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_options_are_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="takes a folder for its runs"):
        demo.run(["--help"])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_beside_is_told(tmp_path: Path) -> None:
    (tmp_path / "nonsense").mkdir()
    with (
        pytest.raises(TenfoldError, match=r"training nonsense failed: there is no recipe 'nonsense'"),
        demo.made_beside("nonsense", tmp_path),
    ):
        pass
    assert "there is no recipe" in demo.log_of(tmp_path, "nonsense").read_text()


def test_an_interruption_stops_the_process_beside(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), demo.made_beside("tarflow-digits-noise", tmp_path):
        raise KeyboardInterrupt
    assert not (tmp_path / "tarflow-digits-noise" / "model").exists()
