"""Detectors: their networks, what they learn from a batch, how boxes are read off them, and pictures in tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.config import BoxFinding, DetectorConfig, PictureChanges, PictureData
from tenfold.detection.data.aerotiny import AeroTinyConfig
from tenfold.detection.data.augment import changed, moved_boxes, moved_pictures, similarity_of
from tenfold.detection.data.georeference import affine_of
from tenfold.detection.data.pictures import NOBODY, read_picture, read_splits, rendered
from tenfold.detection.finding.decoding import detect_in_tiles, found_boxes
from tenfold.detection.learning import assigned_objects, detection_losses
from tenfold.detection.measuring import average_precision_50, error_rows
from tenfold.detection.models import DenseOutput, Detector, ResNet50
from tenfold.detection.models.output import CODER
from tenfold.detection.options import PictureDetection
from tenfold.detection.tables import Detections, Labels
from tenfold.detection.weights import load_backbone, read_published
from tenfold.errors import UsageError
from tenfold.training.streams import Draws

SMALL = DetectorConfig(classes=("ship", "tank"), width=8, channels=8, strides=(4, 8))
BOXES = torch.tensor([[20.0, 24, 12, 6, 0.4], [44, 40, 9, 8, 1.9], [10, 50, 7, 3, 2.2]])
LABELS = torch.tensor([0, 1, 0])


def plain_output(priors: Tensor, objects: Tensor, labels: Tensor, classes: int = 2) -> DenseOutput:
    """Every prior says its row of ``objects`` for certain; those of the class NOBODY nothing."""
    logits = torch.full((1, len(priors), classes), -12.0)
    rows = (labels != NOBODY).nonzero()[:, 0]
    logits[0, rows, labels[rows]] = 6.0
    return DenseOutput(
        logits, CODER.encode(priors, objects)[None], torch.zeros(1, len(priors), 2), priors, (len(priors),)
    )


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["dcfl", "retina"])
@pytest.mark.parametrize("strides", [(4, 8), (8, 16, 32, 64), (32,)])
def test_every_location_of_every_level_has_a_prior(head: str, strides: tuple[int, ...]) -> None:
    model = Detector(DetectorConfig(classes=("a",), width=8, channels=8, strides=strides, head=head, layers=1))
    found = model(torch.zeros(2, 3, 64, 128))
    assert found.levels == tuple(-(-64 // s) * -(-128 // s) for s in strides)
    assert found.logits.shape == (2, sum(found.levels), 1)
    assert found.priors[0].tolist() == [0, 0, 4 * strides[0], 4 * strides[0], 0]
    assert not found.shift.any()
    assert float(found.logits.detach().sigmoid().mean()) == pytest.approx(0.01, abs=0.005)
    assert all(p.requires_grad for p in model.parameters())
    (found.logits.sum() + found.deltas.sum()).backward()
    assert all(p.grad is not None for p in model.parameters()), "a weight that nothing uses"


def test_resnet_is_torchvisions() -> None:
    with torch.device("meta"):
        backbone = ResNet50()
    names = set(backbone.state_dict())
    assert len(names) == 318  # 320 of the whole, without its classifier
    assert {"conv1.weight", "layer1.0.downsample.1.running_var", "layer4.2.bn3.bias"} <= names
    assert sum(p.numel() for p in backbone.parameters()) == 25_557_032 - 2048 * 1000 - 1000
    backbone.train()
    assert not backbone.layer3[1].bn2.training
    assert not any(p.requires_grad for p in backbone.layer1.parameters())
    assert all(p.requires_grad for p in backbone.layer2.parameters())


def test_weights_of_torchvision(tmp_path: Path) -> None:
    backbone = ResNet50(1)
    state = {name: torch.full_like(value, 2) for name, value in backbone.state_dict().items()}
    further = {"fc.weight": torch.zeros(2, 2), "layer2.0.conv1.weight": torch.zeros(1)}
    torch.save({**state, **further}, tmp_path / "r.pth")
    load_backbone(backbone, tmp_path / "r.pth")
    assert bool((backbone.conv1.weight == 2).all())
    torch.save({"conv1.weight": state["conv1.weight"]}, tmp_path / "r.pth")
    with pytest.raises(UsageError, match=r"do not fit ResNet-50 as torchvision names it: missing.*bn1"):
        load_backbone(backbone, tmp_path / "r.pth")


def test_published_checkpoints(tmp_path: Path) -> None:
    made = Detector(DetectorConfig(("a", "b"), "resnet50", channels=8, strides=(8, 16, 32, 64, 128)))
    state = made.state_dict()
    assert {"neck.fpn_convs.4.conv.bias", "bbox_head.reg_convs.3.conv_offset.weight"} <= set(state)
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "x.pth")
    found = read_published(tmp_path / "x.pth", ("a", "b"))
    assert found.config == made.config
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    with pytest.raises(UsageError, match="has 2 classes and there are 0 names"):
        read_published(tmp_path / "x.pth")
    torch.save({"roi_head.bbox_head.fc_cls.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match="of a two-stage detector"):
        read_published(tmp_path / "x.pth")


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dcfl", "max-iou", "atss", "tal", "gaussians", "wasserstein"])
def test_rows_that_fill_and_other_pictures_change_nothing(name: str) -> None:
    model = Detector(SMALL)
    output = model(255 * torch.rand(2, 3, 64, 64))
    boxes, labels = torch.zeros(2, 6, 5), torch.full((2, 6), NOBODY)
    boxes[0, [1, 2, 5]], labels[0, [1, 2, 5]] = BOXES, LABELS
    assigner = named_assigner(name)
    spread = assigned_objects(output, boxes, labels, assigner)
    first = DenseOutput(output.logits[:1], output.deltas[:1], output.shift[:1], output.priors, output.levels)
    alone = assigned_objects(first, BOXES[None], LABELS[None], assigner)
    assert int((spread[1] >= 0).sum()) == 0
    assert torch.equal(torch.where(spread[0] >= 0, torch.tensor([-9, 0, 1, -9, -9, 2])[spread[0]], spread[0]), alone[0])
    together = detection_losses(output, boxes, labels, spread, torch.tensor(3))
    single = detection_losses(first, BOXES[None], LABELS[None], alone, torch.tensor(3))
    assert float(together.classes.detach()) > float(single.classes.detach()) > 0  # the other picture's background
    assert torch.allclose(together.boxes, single.boxes)
    assert float(together.positives) == float(single.positives) >= 1
    assert float(together.without) == float(single.without)


def test_losses_of_what_is_right_vanish() -> None:
    output = plain_output(BOXES + torch.tensor([1.0, -1, 2, 3, 0]), BOXES, LABELS)
    found = detection_losses(output, BOXES[None], LABELS[None], [torch.arange(3)], torch.tensor(3))
    assert float(found.boxes) == pytest.approx(0, abs=1e-4)
    assert float(found.classes) < 1e-4
    assert float(found.confidence[0]) == pytest.approx(float(torch.tensor(6.0).sigmoid()))
    assert float(found.confidence[1]) == pytest.approx(float(torch.tensor(6.0).sigmoid()))
    one = detection_losses(output, BOXES[None], LABELS[None], [torch.tensor([0, -1, -1])], torch.tensor(3))
    assert float(one.without) == pytest.approx(2 / 3)
    assert float(one.positives) == pytest.approx(1 / 3)


def test_pictures_without_objects_have_losses() -> None:
    model = Detector(SMALL)
    output = model(torch.zeros(1, 3, 32, 32))
    boxes, labels = torch.zeros(1, 2, 5), torch.full((1, 2), NOBODY)
    owners = assigned_objects(output, boxes, labels, named_assigner("dcfl"))
    found = detection_losses(output, boxes, labels, owners, torch.tensor(1))
    (found.classes + found.boxes).backward()
    assert float(found.boxes.detach()) == 0 < float(found.classes.detach())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


# --- reading boxes off ------------------------------------------------------------------------------------------------


def test_found_boxes() -> None:
    objects = torch.cat([BOXES, BOXES[:1] + torch.tensor([0.5, 0, 0, 0, 0]), BOXES[:1]])
    output = plain_output(objects, objects, torch.tensor([0, 1, 0, 0, NOBODY]))
    output.logits[0, 3, 0] = 5.0
    found = found_boxes(output, 0, BoxFinding())
    assert found.labels.tolist() == [0, 1, 0]
    assert torch.allclose(found.boxes, BOXES[[0, 1, 2]], atol=1e-4)
    assert len(found_boxes(output, 0, BoxFinding(most=2)).boxes) == 2
    assert len(found_boxes(output, 0, BoxFinding(overlap=1.0)).boxes) == 4
    assert len(found_boxes(output, 0, BoxFinding(score=0.9999)).boxes) == 0


def test_why_objects_are_missed() -> None:
    none = torch.zeros(3, dtype=torch.int64)
    labels = Labels(("a",), ("ship", "tank"), none, LABELS, BOXES.double(), none.bool())

    def said(rows: list[int], scores: list[float]) -> Detections:
        zero = torch.zeros(len(rows), dtype=torch.int64)
        return Detections(("a",), ("ship", "tank"), zero, LABELS[rows], BOXES[rows].double(), torch.tensor(scores))

    rows = error_rows(labels, said([0], [0.9]), said([0, 1, 2], [0.9, 0.4, 0.01]), BoxFinding(score=0.05))
    found = {row.name: row.value for row in rows}
    assert found["missed_suppressed"] == found["missed_low_score"] == pytest.approx(1 / 3)
    assert sum(found.values()) == pytest.approx(2 / 3)


class Bright(Detector):
    """Finds a ship of 8 × 4 pixels at each bright pixel, wherever the picture is cut."""

    def forward(self, pictures: Tensor) -> DenseOutput:
        height, width = pictures.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        rest = torch.tensor([8.0, 4, 0.5]).expand(height * width, 3)
        priors = torch.cat([torch.stack([x, y], -1).flatten(0, 1).float(), rest], 1)
        logits = (pictures[:, 0].flatten(1) / 10 - 12)[..., None]
        zero = torch.zeros(len(pictures), len(priors), 5)
        return DenseOutput(logits, zero, zero[..., :2], priors, (len(priors),))


@pytest.mark.parametrize(("tile", "halo"), [(32, 16), (64, 8), (128, 0)])
def test_tiles_find_each_object_once(tile: int, halo: int) -> None:
    places = torch.tensor([[3, 5], [31, 32], [32, 60], [90, 33], [64, 64], [99, 76], [48, 20]])  # x, y
    picture = torch.zeros(3, 77, 100)
    picture[0, places[:, 1], places[:, 0]] = 200
    found = detect_in_tiles(Bright(DetectorConfig(("ship",), width=8, channels=8)), picture, BoxFinding(), tile, halo)
    assert sorted(map(tuple, found.boxes[:, :2].long().tolist())) == sorted(map(tuple, places.tolist()))


def test_average_precision_of_padded_rows() -> None:
    objects = torch.full((2, 4, 6), float(NOBODY))
    objects[0, :3] = torch.cat([BOXES, LABELS[:, None]], 1)
    found = torch.full((2, 5, 7), float(NOBODY))
    found[0, :3] = torch.cat([BOXES, torch.tensor([[0.9], [0.8], [0.7]]), LABELS[:, None]], 1)
    assert average_precision_50({"found": found, "objects": objects}, 2) == pytest.approx(1.0)
    found[0, 1] = NOBODY
    assert average_precision_50({"found": found, "objects": objects}, 2) == pytest.approx(0.5)


# --- data -------------------------------------------------------------------------------------------------------------

MOVES: dict[str, tuple[list[list[float]], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "none": ([[1, 0], [0, 1]], lambda p: p, lambda b: geometry.to_convention(b, "le135")),
    "mirror": ([[-1, 0], [0, 1]], lambda p: p.flip(-1), lambda b: geometry.flip_boxes(b, 64, 64, "horizontal")),
    "turn": ([[0, -1], [1, 0]], lambda p: p.rot90(-1, (-2, -1)), lambda b: geometry.quarter_turn_boxes(b, 64, 64, 1)),
    "half": ([[-1, 0], [0, -1]], lambda p: p.flip(-1, -2), lambda b: geometry.flip_boxes(b, 64, 64, "diagonal")),
}


@pytest.mark.parametrize("name", MOVES)
def test_pictures_and_boxes_move_together(name: str) -> None:
    matrix, of_pictures, of_boxes = MOVES[name]
    linear, pictures = torch.tensor([matrix]).float(), 255 * torch.rand(1, 3, 64, 64)
    found = moved_pictures(pictures, linear, torch.zeros(1, 2))
    assert torch.allclose(found, of_pictures(pictures), atol=0.05)
    centre = torch.einsum("bij,bmj->bmi", linear, BOXES[None, :, :2] - 32) + 32
    assert torch.allclose(moved_boxes(BOXES[None], linear, centre)[0], of_boxes(BOXES), atol=1e-4)
    shifted = moved_pictures(pictures, linear, torch.tensor([[5.0, -3.0]]))
    assert torch.allclose(shifted[..., :61, 5:], of_pictures(pictures)[..., 3:, :59], atol=0.05)
    assert not shifted[..., :5].any()


def test_zoom_keeps_boxes_exact() -> None:
    index = torch.arange(6)
    changes = PictureChanges(zoom=1.5, shift=4, colour=0.0)
    boxes, labels = BOXES.expand(6, 3, 5), LABELS.expand(6, 3)
    _, found, kept = changed(torch.zeros(6, 3, 64, 64), boxes, labels, index, Draws(0, 3), changes)
    linear = similarity_of(index, Draws(0, 3), changes, True)
    ratio = found[..., 2] * found[..., 3] / (boxes[..., 2] * boxes[..., 3])
    assert torch.allclose(ratio, torch.linalg.det(linear).abs()[:, None].expand(6, 3), rtol=1e-4)
    gone = ((found[..., :2] < 0) | (found[..., :2] > 64)).any(-1)
    assert torch.equal(kept, torch.where(gone, NOBODY, labels))
    corners = geometry.corners(boxes) - 32
    want = torch.einsum("bij,bmkj->bmki", linear, corners)
    got = geometry.corners(found)
    spread = got.mean(2, keepdim=True) - want.mean(2, keepdim=True)  # the shift
    distance = torch.cdist((want + spread).flatten(0, 1), got.flatten(0, 1)).amin(2)
    assert float(distance.max()) < 1e-3


def test_changes_are_keyed_by_the_sample() -> None:
    pictures, boxes, labels = 255 * torch.rand(4, 3, 32, 32), BOXES.expand(4, 3, 5), LABELS.expand(4, 3)
    index = torch.tensor([7, 3, 9, 1])
    whole = changed(pictures, boxes, labels, index, Draws(0, 1), PictureChanges())
    part = changed(pictures[2:], boxes[2:], labels[2:], index[2:], Draws(0, 1), PictureChanges())
    assert all(torch.equal(a[2:], b) for a, b in zip(whole, part, strict=True))
    assert not torch.equal(whole[0], pictures)


def test_rendered_pictures_are_kept(tmp_path: Path) -> None:
    config = AeroTinyConfig(size=64, pictures=2, objects=400)
    first, again = rendered(config, str(tmp_path)), rendered(config, str(tmp_path))
    assert first.fingerprint == again.fingerprint
    batch, other = first.batch(np.array([1, 0])), again.batch(np.array([1, 0]))
    assert all(torch.equal(batch[name], other[name]) for name in batch)
    assert int((batch["label"] != NOBODY).sum()) == len(first.labels)
    file = next(tmp_path.iterdir())
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="delete it, and it is rendered anew"):
        rendered(config, str(tmp_path))


def test_folders_are_padded(tmp_path: Path) -> None:
    for split in ("trainval", "test"):
        for folder in ("images", "labels_v1"):
            (tmp_path / folder / split).mkdir(parents=True)
        for name, size in (("a", (40, 30)), ("b", (20, 50)), ("c", (8, 8))):
            Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "images" / split / f"{name}.png")
            row = "2 2 8 2 8 6 2 6 ship 0\n" * (name == "a")
            (tmp_path / "labels_v1" / split / f"{name}.txt").write_text(row)
    splits = read_splits(PictureData(source="folder", root=str(tmp_path), validation=1), ("ship", "tank"))
    assert [len(split) for split in splits] == [2, 1, 3]
    batch = splits.train.batch(np.array([0, 1]))
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["size"].tolist() == [[40, 30], [20, 50]]
    assert batch["image"][1, :, 49, 19].tolist() == [10, 20, 30]
    assert not batch["image"][1, :, 50:].any()
    assert batch["label"].tolist() == [[0], [NOBODY]]
    assert torch.allclose(batch["boxes"][0, 0], torch.tensor([5.0, 4, 6, 4, 0]))
    with pytest.raises(UsageError, match="leave some to learn from"):
        read_splits(PictureData(source="folder", root=str(tmp_path), validation=3), ("ship", "tank"))
    with pytest.raises(UsageError, match=r"data.root is empty"):
        read_splits(PictureData(source="folder"), ("ship",))


def test_where_rasters_lie(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550], tags[33922] = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 100.0, 200.0, 0.0)
    tags.tagtype[33550] = tags.tagtype[33922] = 12
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif", tiffinfo=tags)
    assert affine_of(tmp_path / "a.tif") == (0.5, 0.0, 100.0, 0.0, -0.5, 200.0)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert affine_of(tmp_path / "b.png") is None
    (tmp_path / "b.pgw").write_text("2\n0\n0\n-2\n11\n19\n")
    assert affine_of(tmp_path / "b.png") == (2.0, 0.0, 10.0, 0.0, -2.0, 20.0)
    (tmp_path / "b.pgw").write_text("2 x")
    with pytest.raises(UsageError, match="is no world file"):
        affine_of(tmp_path / "b.png")
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.tif")
    with pytest.raises(UsageError, match="convert it to 8 bits"):
        read_picture(tmp_path / "deep.tif")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: DetectorConfig(strides=(4, 16)), "each twice the last"),
        (lambda: DetectorConfig(classes=()), "name each class once"),
        (lambda: DetectorConfig(width=12), "multiples of 8"),
        (lambda: PictureDetection(tile=64, halo=64), "halo is 64"),
        (lambda: PictureDetection(tile=65), "multiple of 32"),
        (lambda: BoxFinding(score=1.5), "evaluation.score is 1.5"),
        (lambda: PictureData(root="x"), "set --data.source folder"),
        (lambda: named_assigner("dcfll"), "did you mean 'dcfl'"),
    ],
)
def test_refused(make: Callable[[], object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        make()
