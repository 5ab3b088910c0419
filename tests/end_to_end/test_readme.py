"""The Python of the README runs as it stands, with fewer steps."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_ten_lines_train_sample_and_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    quick = (
        'model={"blocks": 2, "layers": 1}, train={"steps": 3, "tracker": "none"}, data={"test": 60, "validation": 20}, '
        'evaluation={"baselines": False, "draws": 2, "importance": 2, "samples": 40}'
    )
    shortened = block.replace('train={"steps": 300}', quick)
    assert shortened != block
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(shortened, str(README), "exec"), names)
    assert names["images"].shape == (16, 1, 8, 8)
    assert names["flow"].log_prob(names["images"], names["threes"]).shape == (16,)
    assert "test" in capsys.readouterr().out
    assert (tmp_path / "runs" / "readme" / "report.html").exists()
