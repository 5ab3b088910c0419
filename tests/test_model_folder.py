"""Where a model lies: in a run, in a stage of one, in a folder of its own."""

from pathlib import Path

import pytest

from tenfold.errors import UsageError
from tenfold.hub import model_folder


def test_runs_stages_and_folders(tmp_path: Path) -> None:
    for folder in (tmp_path / "run" / "model", tmp_path / "pipeline" / "flow" / "model"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        assert model_folder(folder.parent) == model_folder(folder) == folder
    with pytest.raises(UsageError, match=r"is a run of several stages; name the one whose model is meant: .*flow"):
        model_folder(tmp_path / "pipeline")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text("recipe: x\n")
    with pytest.raises(UsageError, match=r"has no trained model yet; finish it with 'tenfold train --resume"):
        model_folder(tmp_path / "new")
    with pytest.raises(UsageError, match=r"runs/nothing does not exist; a run is made with 'tenfold train"):
        model_folder("runs/nothing")
    with pytest.raises(UsageError, match="neither a model folder nor a hub id"):
        model_folder("nothing")
