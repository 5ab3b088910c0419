"""AeroTiny: a number decides its picture, labels are exact, nothing lies on anything, and the folder is AI-TOD-R's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold.detection import geometry
from tenfold.detection.data import AITODR_CLASSES, read_labels
from tenfold.detection.data.aerotiny import AeroTiny, AeroTinyConfig, Scene, write_aerotiny
from tenfold.detection.data.aerotiny.painting import Painting
from tenfold.detection.data.aerotiny.placing import placed, sides_of_kind
from tenfold.detection.data.aerotiny.shapes import KINDS
from tenfold.detection.data.options import LabelReading
from tenfold.errors import UsageError

DENSE = AeroTinyConfig(size=96, pictures=4, objects=900, mix="balanced", seed=3)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [AeroTiny(DENSE)[k] for k in range(4)]


def test_what_a_scene_is(scenes: list[Scene]) -> None:
    assert AeroTiny.classes == AITODR_CLASSES
    for scene in scenes:
        assert scene.image.shape == (3, 96, 96)
        assert float(scene.image.float().std()) > 10
        assert len(scene.boxes) == len(scene.labels)
        hull = geometry.horizontal(scene.boxes)
        assert bool((hull >= -1e-9).all() & (hull <= 96 + 1e-9).all())
        iou = geometry.box_iou(scene.boxes, scene.boxes).fill_diagonal_(0)
        assert len(scene.boxes) == 0 or float(iou.max()) < 0.05
        assert torch.equal(scene.boxes, geometry.to_convention(scene.boxes, "le135"))
    assert sum(len(scene.boxes) for scene in scenes) > 15


def test_numbers_decide(scenes: list[Scene]) -> None:
    again = AeroTiny(DENSE)[2]
    assert torch.equal(again.image, scenes[2].image)
    assert torch.equal(again.boxes, scenes[2].boxes)
    assert not torch.equal(scenes[1].image, scenes[2].image)
    for other in ({"seed": 4}, {"split": "test"}):
        config = AeroTinyConfig(**{**vars(DENSE), **other})
        assert not torch.equal(AeroTiny(config)[2].image, again.image)
    with pytest.raises(IndexError, match="picture 4 of 4"):
        AeroTiny(DENSE)[4]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_labels_are_exact(kind) -> None:
    """What a class paints reaches all four sides of its box, and nothing beyond."""
    draw = np.random.default_rng(0)
    w, h = 48.0, 48.0 / (kind.aspect[0] + kind.aspect[1]) * 2
    canvas = Painting(np.full((80, 80, 3), 0.4))
    for layer in kind.layers(draw):
        canvas.paint(np.array([40, 40, w, h, 0]), layer._replace(colour=np.ones(3)))
    rows, columns = np.nonzero(canvas.colours[..., 0] > 0.4)
    assert (columns.min(), columns.max() + 1) == (16, 64)
    assert rows.min() == np.floor(40 - h / 2)
    assert rows.max() + 1 == np.ceil(40 + h / 2)


def test_turned_shapes_lie_in_their_boxes() -> None:
    canvas = Painting(np.zeros((60, 60, 3)))
    box = np.array([31.3, 27.6, 24, 10, 0.6])
    for layer in KINDS[3].layers(np.random.default_rng(0)):
        canvas.paint(box, layer._replace(colour=np.ones(3)))
    y, x = np.nonzero(canvas.colours[..., 0])
    corners = torch.from_numpy(np.stack([x + 0.5, y + 0.5, np.ones(len(x)), np.ones(len(x)), np.zeros(len(x))], 1))
    assert float(geometry.box_iou(corners, torch.from_numpy(box)[None], "first").min()) > 0
    assert canvas.colours[..., 0].sum() == pytest.approx(24 * 10 * 0.85, rel=0.1)


def test_sizes_follow_the_data_set() -> None:
    draw = np.random.default_rng(1)
    for label, kind in enumerate(KINDS):
        sides = np.array([sides_of_kind(draw, label) for _ in range(800)])
        size, aspect = np.sqrt(sides.prod(1)), sides[:, 0] / sides[:, 1]
        assert np.quantile(size, [0.25, 0.5, 0.75]) == pytest.approx(kind.quartiles, rel=0.15)
        assert aspect.min() >= kind.aspect[0] - 1e-9
        assert aspect.max() <= kind.aspect[1] + 1e-9


def test_numbers_of_objects_and_where_they_are() -> None:
    config = AeroTinyConfig(size=400, objects=27)
    counts = [len(placed(np.random.default_rng(k), config, 0.3, None)[0]) for k in range(80)]
    assert np.mean(counts) == pytest.approx(27 / 4, rel=0.3)
    assert max(counts) > 2 * np.mean(counts)
    water = np.zeros((400, 400), bool)
    water[:, :200] = True
    busy = AeroTinyConfig(size=400, objects=200, mix="balanced")
    boxes, labels = placed(np.random.default_rng(0), busy, 0.3, water)
    afloat = np.isin(labels, [1, 3])
    assert afloat.sum() > 3
    assert (boxes[afloat, 0] < 200).all()
    assert (boxes[~afloat, 0] >= 200).all()


def test_the_folder_is_that_of_aitodr(tmp_path: Path) -> None:
    config = AeroTinyConfig(size=64, pictures=3, objects=900, split="test")
    labels = write_aerotiny(tmp_path, config)
    read = read_labels(tmp_path, LabelReading(split="test"))
    assert read.labels.classes == labels.classes == AITODR_CLASSES
    assert read.labels.images == labels.images
    assert torch.equal(read.labels.label, labels.label)
    assert torch.allclose(geometry.paired_iou(read.labels.boxes, labels.boxes), torch.ones(1).double(), atol=1e-3)
    assert {found.kind for found in read.findings} <= {"picture without objects"}
    picture = np.asarray(Image.open(tmp_path / "images" / "test" / "00001.png"))
    assert np.array_equal(picture, AeroTiny(config)[1].image.permute(1, 2, 0).numpy())


def test_backgrounds_of_ones_own(tmp_path: Path) -> None:
    Image.new("RGB", (90, 70), (0, 200, 0)).save(tmp_path / "green.png")
    config = AeroTinyConfig(size=64, pictures=1, objects=0, distractors=0, backgrounds=str(tmp_path))
    red, green, blue = AeroTiny(config)[0].image.float().mean((1, 2)).tolist()
    assert green > 120 > 60 > red
    assert blue < 60
    with pytest.raises(UsageError, match=r"green.png is smaller than 80 pixels"):
        AeroTiny(AeroTinyConfig(size=80, backgrounds=str(tmp_path)))
    with pytest.raises(UsageError, match="holds no pictures"):
        AeroTiny(AeroTinyConfig(backgrounds=str(tmp_path / "none")))
    for options, message in (({"size": 32}, "size"), ({"mix": "cars"}, "mix is 'cars'"), ({"split": "a/b"}, "split")):
        with pytest.raises(UsageError, match=message):
            AeroTinyConfig(**options)
