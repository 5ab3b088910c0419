"""Images that cannot be read: told together before any work, or left out and counted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.inputs import read_inputs
from tenfold.data.images.splits import read_all
from tenfold.data.load import load_captioned, load_images
from tenfold.errors import TenfoldError, UsageError

datasets = pytest.importorskip("datasets")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images with captions, two of which are bad."""
    for i in range(12):
        Image.fromarray(np.full((6, 6), i, np.uint8)).save(tmp_path / f"{i:02}.png")
        (tmp_path / f"{i:02}.txt").write_text(f"number {i}")
    for i in (0, 7):
        path = tmp_path / f"{i:02}.png"
        path.write_bytes(path.read_bytes()[:-30] if i else b"nonsense")
    return tmp_path


def loaded(folder: Path, source: str, skip_bad: bool):
    counts = {"validation": 2, "test": 2, "skip_bad": skip_bad}
    if source == "captions":
        return load_captioned(CaptionDataConfig("folder", str(folder), side=8, multiple=2, ratios="1:1", **counts))
    if source == "huggingface":
        rows = [{"bytes": (folder / f"{i:02}.png").read_bytes(), "path": None} for i in range(12)]
        features = datasets.Features({"image": datasets.Image(decode=False)})
        (folder / "parquet").mkdir(exist_ok=True)
        datasets.Dataset.from_dict({"image": rows}, features=features).to_parquet(folder / "parquet" / "train.parquet")
        return load_images(ImageDataConfig("huggingface", str(folder / "parquet"), **counts))
    return load_images(ImageDataConfig("folder", str(folder), **counts))


@pytest.mark.parametrize("source", ["folder", "captions", "huggingface"])
def test_bad_images_are_listed_or_left_out(folder: Path, source: str) -> None:
    with pytest.raises(TenfoldError, match="2 of 12 images are bad") as error:
        loaded(folder, source, skip_bad=False)
    names = ("0 of split train", "7 of split train") if source == "huggingface" else ("00.png", "07.png")
    assert all(name in str(error.value) for name in names)
    assert "--data.skip-bad" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match="2 of 12 images are left out as bad"):
        splits = loaded(folder, source, skip_bad=True)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 2, 2]
    values = {
        int(v) for part in (splits.train, splits.validation, splits.test) for v in read_all(part)[0].amax((1, 2, 3))
    }
    assert values == set(range(12)) - {0, 7}


def test_nothing_is_left_when_all_are_bad(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"nonsense")
    with pytest.raises(TenfoldError, match="3 of 3 images are bad"):
        load_images(ImageDataConfig("folder", str(tmp_path), validation=1, test=1, skip_bad=True))
    with pytest.raises(UsageError, match="skip_bad needs images"):
        ImageDataConfig("huggingface", "x", streaming=True, skip_bad=True)


def test_a_users_images_are_listed_together_too(folder: Path) -> None:
    with pytest.raises(TenfoldError, match=r"2 of 12 images are bad.*00\.png.*07\.png"):
        read_inputs(folder, (1, 6, 6), 256)


@pytest.mark.filterwarnings("ignore")
def test_images_without_captions_are_counted(folder: Path) -> None:
    for i in (1, 2, 3):
        (folder / f"{i:02}.txt").unlink()
    with pytest.raises(UsageError, match=r"\d of \d+ images have no caption"):
        loaded(folder, "captions", skip_bad=True)
