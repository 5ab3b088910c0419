"""Hugging Face data sets made on the spot: parquet shards, image folders, save_to_disk, streams."""

import importlib
import os
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import read_all
from tenfold.data.load import load_images
from tenfold.errors import TenfoldError, UsageError

datasets = importlib.import_module("datasets")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("hf")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


def make_dataset(count: int, first: int = 0):
    """Image i is a 5x5 square of shade i, label i mod 3."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["ant", "bee", "cow"]),
            "extra": datasets.Value("string"),
        }
    )
    shades = range(first, first + count)
    columns = {
        "image": [Image.fromarray(np.full((5, 5), i, np.uint8)) for i in shades],
        "label": [i % 3 for i in shades],
        "extra": [str(i) for i in shades],
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def parquet(tmp_path):
    """Training data of 24 images in four shards, a test split of 6."""
    whole, folder = make_dataset(24), tmp_path / "parquet"
    folder.mkdir()
    for i in range(4):
        whole.shard(4, i, contiguous=True).to_parquet(folder / f"train-{i:05d}-of-00004.parquet")
    make_dataset(6, first=100).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


def config(path, **settings) -> ImageDataConfig:
    return ImageDataConfig(**{"source": "huggingface", "path": str(path), "validation": 3, "test": "test", **settings})


def shades(source) -> list[int]:
    images, labels = read_all(source)
    values = images[:, 0, 0, 0].tolist()
    assert labels.tolist() == [value % 3 for value in values]
    return values


def test_parquet_shards_named_and_counted_splits(parquet) -> None:
    splits = load_images(config(parquet))
    assert splits.class_names == ("ant", "bee", "cow")
    assert (splits.classes, splits.shape, len(splits.train), len(splits.validation)) == (3, (1, 5, 5), 21, 3)
    assert shades(splits.test) == list(range(100, 106))
    assert sorted(shades(splits.train) + shades(splits.validation)) == list(range(24))
    assert sorted(value % 3 for value in shades(splits.validation)) == [0, 1, 2]


def test_fingerprints_repeat_and_see_split_and_size(parquet) -> None:
    first = load_images(config(parquet))
    assert first.fingerprint == load_images(config(parquet)).fingerprint
    assert first.fingerprint != load_images(config(parquet, split_seed=1)).fingerprint
    assert first.fingerprint != load_images(config(parquet, height=4, width=4)).fingerprint
    assert first.train.fingerprint != first.validation.fingerprint


def test_image_folder_with_metadata_free_classes(tmp_path) -> None:
    for c, name in enumerate(("x", "y")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((5, 5), 10 * c + i, np.uint8)).save(tmp_path / "train" / name / f"{i}.png")
    splits = load_images(config(tmp_path, test=2, validation=2))
    assert splits.class_names == ("x", "y")
    images, labels = read_all(splits.train)
    assert (images[:, 0, 0, 0] // 10).tolist() == labels.tolist()


def test_saved_to_disk_with_and_without_named_splits(tmp_path) -> None:
    datasets.DatasetDict({"train": make_dataset(12), "val": make_dataset(3, 50)}).save_to_disk(tmp_path / "dict")
    splits = load_images(config(tmp_path / "dict", test=3, validation="val"))
    assert shades(splits.validation) == [50, 51, 52]
    make_dataset(12).save_to_disk(tmp_path / "single")
    splits = load_images(config(tmp_path / "single", test=3))
    assert (len(splits.train), len(splits.test)) == (6, 3)


def test_string_labels_are_numbered_and_none_ignores_them(tmp_path) -> None:
    whole = make_dataset(12).cast_column("label", datasets.Value("int64"))
    whole = whole.map(lambda row: {"extra": "kmn"[row["label"]]})
    whole.to_parquet(tmp_path / "train.parquet")
    splits = load_images(config(tmp_path, test=3, label_column="extra"))
    assert splits.class_names == ("k", "m", "n")
    shades(splits.train)
    bare = load_images(config(tmp_path, test=3, label_column="none"))
    assert bare.classes == 0
    assert set(read_all(bare.train)[1].tolist()) == {-1}


def test_a_string_label_outside_the_training_split_is_named(tmp_path) -> None:
    for name, labels in (("train", "kmn"), ("test", "kmx")):
        whole = make_dataset(12).map(lambda row, labels=labels: {"extra": labels[row["label"]]})
        whole.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(UsageError, match="label 'x' in column 'extra' does not occur in the training split"):
        load_images(config(tmp_path, test="test", label_column="extra"))


def read(source, lane: int, start: int, count: int) -> list[int]:
    return source.collate(list(islice(source.read(lane, start), count)))["image"][:, 0, 0, 0].tolist()


def test_stream_lanes_cover_the_data_start_anywhere_and_start_over(parquet) -> None:
    source = load_images(config(parquet, streaming=True, validation=4, lanes=2)).train
    assert (source.lanes, source.block) == (2, 256)
    lanes = [read(source, lane, 0, 10) for lane in range(2)]
    # Twelve records a lane, of which the first two are held out.
    assert lanes == [list(range(2, 12)), list(range(14, 24))]
    fresh = load_images(config(parquet, streaming=True, validation=4, lanes=2)).train
    for start in (0, 3, 9, 10, 13, 27):
        expected = [lanes[1][(start + i) % 10] for i in range(14)]
        assert read(source, 1, start, 14) == expected
        assert read(fresh, 1, start, 14) == expected


def test_stream_holds_out_records_that_training_never_sees(parquet) -> None:
    splits = load_images(config(parquet, streaming=True, validation=5, test=3))
    assert splits.train.lanes == 4
    held_out = shades(splits.validation) + shades(splits.test)
    assert len(set(held_out)) == len(held_out) == 8
    training = [value for lane in range(4) for value in read(splits.train, lane, 0, 4)]
    assert sorted(held_out + training) == list(range(24))


def test_stream_records_are_undecoded_and_labelled(parquet) -> None:
    source = load_images(config(parquet, streaming=True)).train
    records = list(islice(source.read(2, 0), 3))
    assert all(isinstance(record["image"]["bytes"], bytes) for record in records)
    batch = source.collate(records)
    assert batch["image"].dtype == torch.uint8
    assert (batch["image"][:, 0, 0, 0] % 3).tolist() == batch["label"].tolist()


def test_stream_of_a_named_split_is_random_access(parquet) -> None:
    assert shades(load_images(config(parquet, streaming=True)).test) == list(range(100, 106))


def test_stream_from_a_saved_data_set(tmp_path) -> None:
    datasets.DatasetDict({"train": make_dataset(12), "test": make_dataset(3, 50)}).save_to_disk(
        tmp_path / "dict", num_shards={"train": 3, "test": 1}
    )
    splits = load_images(config(tmp_path / "dict", streaming=True))
    assert splits.train.lanes == 3
    assert sorted(v for lane in range(3) for v in read(splits.train, lane, 0, 3)) == sorted(set(range(12)) - {0, 4, 8})


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"train": "trian"}, UsageError, "no split 'trian'; did you mean 'train'"),
        ({"test": "tset"}, UsageError, "no split 'tset'; did you mean 'test'"),
        ({"image_column": "picture"}, UsageError, "no image column 'picture'"),
        ({"label_column": "lable"}, UsageError, "no label column 'lable'; did you mean 'label'"),
        ({"validation": 24}, UsageError, "leave none of 24"),
        ({"streaming": True, "lanes": 9}, UsageError, "lanes is 9, but the stream has 4 files"),
    ],
)
def test_wrong_names_and_numbers_are_refused(parquet, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        load_images(config(parquet, **settings))


def test_a_lane_that_is_all_held_out_is_refused(parquet) -> None:
    source = load_images(config(parquet, streaming=True, validation=24)).train
    with pytest.raises(TenfoldError, match="lane 0 of the stream has no training record"):
        next(source.read(0, 0))


def test_data_without_images_and_damaged_images(tmp_path) -> None:
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=r"no column of .* holds images"):
        load_images(config(tmp_path, test=0))
    broken = {"image": [{"bytes": b"nonsense", "path": None}] * 4}
    features = datasets.Features({"image": datasets.Image(decode=False)})
    (tmp_path / "b").mkdir()
    datasets.Dataset.from_dict(broken, features=features).to_parquet(tmp_path / "b" / "train.parquet")
    with pytest.raises(TenfoldError, match="image 0 of split train cannot be read"):
        load_images(config(tmp_path / "b", test=1, validation=1))


def test_hub_out_of_reach_is_one_sentence() -> None:
    code = (
        "from tenfold.data.load import load_images; from tenfold.data.images.config import ImageDataConfig\n"
        "from tenfold.errors import TenfoldError\n"
        "try: load_images(ImageDataConfig(source='huggingface', path='nobody/nothing-of-the-kind'))\n"
        "except TenfoldError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 1
    assert "'nobody/nothing-of-the-kind'" in lines[0]
    assert "hub is out of reach" in lines[0]


def test_missing_datasets_package_names_the_extra(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'tenfold\[data\]'"):
        load_images(config(tmp_path))
