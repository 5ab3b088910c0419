"""Pictures: their pixels where they have a meaning, and that bad arrays are refused."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold import figures
from tenfold.figures.series import _series as series_of
from tenfold.errors import UsageError
from tenfold.figures.series import _series as series_of


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_grid_enlarges_without_blur_and_keeps_the_order(tmp_path) -> None:
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 8, 8) * 3
    path = figures.image_grid(images, tmp_path / "deep" / "grid.png", columns=3, high=16)
    sheet = pixels(path)
    # Whole tiles of one colour each, in reading order, and nothing in between but white.
    expected = [0, 48, 96, 143, 191, 239]
    found = list(dict.fromkeys(sheet[:, :, 0].ravel().tolist()))
    assert sorted(found) == [*expected, 255]
    tile = [(sheet[:, :, 0] == value).nonzero() for value in expected]
    sizes = {(rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) for rows, columns in tile}
    assert sizes == {(96, 96)}
    starts = [(rows.min(), columns.min()) for rows, columns in tile]
    assert starts == sorted(starts)
    assert len({row for row, _ in starts}) == 2


def test_grid_with_titles_is_larger_and_checks_their_number(tmp_path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    bare = pixels(figures.image_grid(images, tmp_path / "a.png", columns=2))
    titled = pixels(
        figures.image_grid(images, tmp_path / "b.png", columns=2, titles=list("abcd"), row_titles=["x", "y"])
    )
    assert titled.shape[0] > bare.shape[0]
    assert titled.shape[1] > bare.shape[1]
    with pytest.raises(UsageError, match="4 images have 3 titles"):
        figures.image_grid(images, tmp_path / "c.png", titles=list("abc"))
    with pytest.raises(UsageError, match="2 rows of images have 1 titles"):
        figures.image_grid(images, tmp_path / "c.png", columns=2, row_titles=["x"])
    assert not (tmp_path / "c.png").exists()


def test_large_images_keep_their_pixels(tmp_path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 200, 300), np.uint8)
    sheet = pixels(figures.image_grid(images, tmp_path / "a.png", width=320))
    np.testing.assert_array_equal(sheet[6:206, 6:306], images[0].transpose(1, 2, 0))


def test_ranges_of_integers_and_floats() -> None:
    assert figures.to_rgb(np.array([[[0, 16]]], np.uint8), high=16).ravel().tolist() == [0] * 3 + [255] * 3
    assert figures.to_rgb(torch.tensor([[[-1.0, 0.0, 2.0]]])).ravel().tolist() == [0] * 3 + [128] * 3 + [255] * 3
    colour = figures.to_rgb(np.array([255, 0, 128], np.uint8).reshape(1, 3, 1, 1))
    assert colour.ravel().tolist() == [255, 0, 128]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 2, 4, 4)), "give .N, 1 or 3, H, W."),
        (np.zeros((4, 4)), "give .N, 1 or 3, H, W."),
        (np.zeros((0, 1, 4, 4)), "give .N, 1 or 3, H, W."),
        (np.full((1, 1, 4, 4), np.nan), "not finite"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images, message, tmp_path) -> None:
    with pytest.raises(UsageError, match=message):
        figures.image_grid(images, tmp_path / "x.png")


def test_ranked_shows_lowest_then_highest(tmp_path) -> None:
    images = (np.arange(20, dtype=np.uint8) * 10).reshape(20, 1, 1, 1).repeat(8, 2).repeat(8, 3)
    scores = np.random.default_rng(0).permutation(20).astype(float)
    sheet = pixels(figures.ranked(images, scores, tmp_path / "r.png", count=3))
    order = np.argsort(scores)
    rows = {}
    for place, i in enumerate([*order[:3], *order[::-1][:3]]):
        r, _ = ((sheet == int(images[i, 0, 0, 0])).all(axis=2)).nonzero()
        assert len(r) >= 64, place
        rows[place] = r.min() if int(images[i, 0, 0, 0]) else 0
    assert max(rows[i] for i in range(3)) < min(rows[i] for i in range(3, 6))
    with pytest.raises(UsageError, match="20 images have 19 scores"):
        figures.ranked(images, scores[1:], tmp_path / "r.png")


def test_plots_are_written_and_checked(tmp_path) -> None:
    rng = np.random.default_rng(0)
    paths = [
        figures.heat_maps(rng.random((3, 1, 8, 8)), rng.random((3, 4, 4)), tmp_path / "h.png", titles=list("abc")),
        figures.histograms({"test": rng.normal(size=50), "other": [1.0, np.nan, 2.0]}, tmp_path / "d.png", "nats"),
        figures.bars(["a", "b"], [2.0, 1.0], tmp_path / "b.png", "bits", errors=[0.1, None or 0.0], highlight=["a"]),
    ]
    for path in paths:
        shape = pixels(path).shape
        assert min(shape[:2]) > 100
    with pytest.raises(UsageError, match="3 images need maps"):
        figures.heat_maps(rng.random((3, 1, 8, 8)), rng.random((2, 4, 4)), tmp_path / "x.png")
    with pytest.raises(UsageError, match="group 'b' has no finite value"):
        figures.histograms({"a": [1.0], "b": [np.nan]}, tmp_path / "x.png", "nats")
    with pytest.raises(UsageError, match="give one label a value"):
        figures.bars(["a"], [1.0, 2.0], tmp_path / "x.png", "bits")


def test_curves_read_both_kinds_of_records(tmp_path) -> None:
    records = [{"step": i, "kind": "train", "loss": 5.0 / i, "note": "text", "seconds": i} for i in range(1, 40)]
    records += [{"step": i, "validation/loss": 6.0 / i} for i in range(10, 40, 10)]
    records += [{"step": 5, "kind": "train", "loss": float("nan")}]
    series = series_of(records)
    assert set(series) == {"loss"}
    assert series["loss"]["validation"] == ([10.0, 20.0, 30.0], [0.6, 0.3, 0.2])
    assert len(series["loss"]["train"][0]) == 39
    assert figures.curves(records, tmp_path / "c.png") == tmp_path / "c.png"
    assert figures.curves([{"step": 1, "loss": 2.0}], tmp_path / "none.png") is None
    assert figures.curves([], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_drawing_needs_no_display_and_leaves_pyplot_alone(tmp_path) -> None:
    loaded = "matplotlib.pyplot" in sys.modules
    figures.bars(["a"], [1.0], tmp_path / "b.png", "x")
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_far_group_does_not_press_the_first_into_a_line(tmp_path) -> None:
    """The filled part of the first group takes about an eighth of the picture however far another one lies."""
    near = np.linspace(-1, 1, 400)

    def filled(other: float) -> int:
        path = figures.histograms({"near": near, "far": near * 0.1 + other}, tmp_path / "h.png", "x")
        # A quarter of the first colour over white.
        shade = np.array([int(figures.PALETTE[0][i : i + 2], 16) for i in (1, 3, 5)]) * 0.25 + 255 * 0.75
        columns = (np.abs(pixels(path)[:, :, :3] - shade).max(axis=2) < 3).any(axis=0)
        return int(columns.sum())

    assert filled(-1e6) > 80
    assert filled(-3.0) > filled(-1e6)
