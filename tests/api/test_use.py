"""Where samples go."""

from pathlib import Path

from tenfold.api.use import _samples_folder


def test_nothing_is_written_over_unless_it_is_named(tmp_path: Path) -> None:
    def place(named: Path | None, goes_on: bool = False) -> Path:
        return _samples_folder(named, tmp_path, goes_on)

    assert place(None) == tmp_path / "samples"
    for name in ("samples", "samples-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.json").write_text("{}")
    assert place(None) == tmp_path / "samples-3"
    assert place(None, goes_on=True) == tmp_path / "samples"
    assert place(tmp_path / "samples-2") == tmp_path / "samples-2"
