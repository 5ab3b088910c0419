"""The judge of captions: what it reads, how it scores, and that it cannot be pleased by ignoring captions."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold import hub
from tenfold.data.captions.compositions import LARGE, SMALL, compositions
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.errors import UsageError
from tenfold.starflow.captions import judge as captions
from tenfold.starflow.captions import judge as matching
from tenfold.starflow.captions.judge import NONE, Judge, JudgeConfig, judge_config, on_grid, train_judge, windows
from tenfold.starflow.captions.matching import (
    ASPECTS,
    derangement,
    match_score,
    matching_rows,
    read_images,
    real_batches,
)

CONFIG = CaptionDataConfig(ratios="1:1,21:9", most_digits=2)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(CONFIG, steps=90, batch=32, samples=1500)


@pytest.fixture(scope="module")
def real():
    return compositions(CONFIG, "test", 400)


def rows_by_name(rows) -> dict[str, float]:
    return {row.name: row.value for row in rows}


def test_a_short_training_reads_real_compositions(judge: Judge, real) -> None:
    rows = matching_rows(judge, real_batches(real), "real compositions", split="test")
    values = rows_by_name(rows)
    assert values["caption_match"] > 0.5
    assert values["caption_match_count"] > 0.95
    assert values["caption_match_places"] > 0.95
    assert values["caption_match_shuffled"] < 0.1
    assert all(values[f"caption_match_{name}"] >= values["caption_match"] for name in ASPECTS[1:])
    for row in rows:
        assert (row.draws, row.model, row.split) == (400, "real compositions", "test")
        assert row.standard_error == pytest.approx(math.sqrt(row.value * (1 - row.value) / 400))


def test_rows_are_shares_of_what_match_score_says(judge: Judge, real) -> None:
    batches = real_batches(real, np.flatnonzero(real.unseen))
    assert [tuple(images.shape[1:]) for images, _ in batches] == [(1, 32, 32), (1, 20, 48)]
    scores = [match_score(judge, *batch) for batch in batches]
    values = rows_by_name(matching_rows(judge, batches, "m"))
    for name in ASPECTS:
        share = float(torch.cat([score[name] for score in scores]).double().mean())
        assert values["caption_match" if name == "all" else f"caption_match_{name}"] == pytest.approx(share)
    # How a canvas's images are split into batches changes nothing but the exchange of captions.
    halves = [(images[part], told[part]) for images, told in batches for part in (slice(0, 5), slice(5, None))]
    assert rows_by_name(matching_rows(judge, halves, "m")) == values


class Oracle(torch.nn.Module):
    """Reads pictures that say what is on them: pixel (row, column) of channel 0 is the digit, of 1 the size."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        grid = images[:, :, :2, :2].long()
        return tuple(torch.nn.functional.one_hot(grid[:, i], n).float() for i, n in ((0, 11), (1, 2)))


def told(*digits: tuple[int, int, int, int]) -> Tensor:
    return torch.tensor([[*digits, *[(-1, -1, -1, -1)] * (3 - len(digits))]])


def drawn(*digits: tuple[int, int, int, int]) -> Tensor:
    image = torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    image[:, 0] = NONE
    for digit, row, column, size in digits:
        image[0, 0, row, column], image[0, 1, row, column] = digit, size
    return image


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ([(3, 0, 0, LARGE), (7, 1, 1, SMALL)], set()),
        ([(3, 0, 0, LARGE), (7, 1, 1, LARGE)], {"sizes"}),
        ([(3, 0, 0, SMALL), (7, 1, 1, LARGE)], {"only the whole"}),  # sizes exchanged
        ([(7, 0, 0, LARGE), (3, 1, 1, SMALL)], {"only the whole"}),  # digits exchanged
        ([(3, 0, 0, LARGE), (7, 0, 1, SMALL)], {"places"}),
        ([(3, 0, 0, LARGE), (8, 1, 1, SMALL)], {"digits"}),
        ([(3, 0, 0, LARGE)], {"count", "digits", "places", "sizes"}),
        ([], {"count", "digits", "places", "sizes"}),
        ([(3, 0, 0, LARGE), (7, 1, 1, SMALL), (7, 1, 0, SMALL)], {"count", "digits", "places", "sizes"}),
    ],
)
def test_every_aspect_is_scored_by_itself(seen, wrong: set[str]) -> None:
    caption = told((3, 0, 0, LARGE), (7, 1, 1, SMALL))
    scores = match_score(Oracle(), drawn(*seen), caption)
    assert {name for name in ASPECTS if not scores[name]} == (({"all"} | wrong) if wrong else set()) - {
        "only the whole"
    }


def test_a_model_that_ignores_captions_scores_no_better_than_exchanged_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(10, (2, 300), generator=generator).tolist()
    faithful = [(drawn((a, 0, 0, LARGE)), told((a, 0, 0, LARGE))) for a in digits[0]]
    careless = [(drawn((a, 0, 0, LARGE)), told((b, 0, 0, LARGE))) for a, b in zip(*digits, strict=True)]
    good, bad = (rows_by_name(matching_rows(Oracle(), batches, "m")) for batches in (faithful, careless))
    assert good["caption_match"] == 1
    # One digit in ten is right by chance.
    assert 0.03 < good["caption_match_shuffled"] < 0.2
    assert 0.03 < bad["caption_match"] < 0.2
    assert bad["caption_match_count"] == bad["caption_match_places"] == bad["caption_match_sizes"] == 1


def test_attributes_on_the_grid() -> None:
    grid = on_grid(told((3, 0, 1, LARGE), (0, 1, 0, SMALL)), 2, 2)
    assert grid.tolist() == [[[[NONE, -1], [3, LARGE]], [[0, SMALL], [NONE, -1]]]]
    assert on_grid(told(), 1, 3).tolist() == [[[[NONE, -1]] * 3]]
    with pytest.raises(UsageError, match="outside the canvas's 1x3 places"):
        on_grid(told((3, 1, 0, LARGE)), 1, 3)


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_a_derangement_leaves_nothing_in_place(count: int) -> None:
    order = derangement(count, torch.Generator().manual_seed(count))
    assert sorted(order.tolist()) == list(range(count))
    assert not (order == torch.arange(count)).any()


def test_windows_cut_places_at_one_scale() -> None:
    everything = CaptionDataConfig()
    for _, height, width in everything.shapes:
        image = torch.arange(height * width).reshape(1, 1, height, width).remainder(251).to(torch.uint8)
        cut = windows(image, 32, 26)
        rows, columns = cut.shape[1:3]
        # The first place, with one pixel of each neighbour.
        h, w = height // rows + (rows > 1), width // columns + (columns > 1)
        top, left = (26 - h) // 2, (26 - w) // 2
        expected = torch.zeros(26, 26)
        expected[top : top + h, left : left + w] = image[0, 0, :h, :w] / 255
        assert torch.equal(cut[0, 0, 0, 0], expected)


def test_every_canvas_of_the_settings_fits_and_others_are_refused() -> None:
    everything = CaptionDataConfig()
    window = max(matching._largest_place(*shape[1:], side=32) for shape in everything.shapes)
    fresh = Judge(JudgeConfig(window=window)).eval()
    source = compositions(everything, "test", 60)
    for images, attributes in real_batches(source):
        assert match_score(fresh, images, attributes)["all"].shape == (len(images),)
    with pytest.raises(UsageError, match="places of 24x24 pixels, but those of a 64x128 canvas"):
        read_images(fresh, torch.zeros(1, 1, 64, 128, dtype=torch.uint8))
    with pytest.raises(UsageError, match="reads 1 channels, but images have 3"):
        read_images(fresh, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_larger_canvases_are_read_at_the_same_scale() -> None:
    config = CaptionDataConfig(ratios="1:1", side=64, most_digits=1)
    judge = train_judge(config, steps=1, batch=4, samples=8)
    assert judge.config.window == 33
    digits, sizes = judge(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))
    assert (digits.shape, sizes.shape) == ((2, 2, 2, 11), (2, 2, 2, 2))


def test_training_repeats_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, second = (train_judge(CONFIG, steps=2, batch=8, samples=50) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = train_judge(CONFIG, steps=2, batch=8, samples=50, seed=1)
    assert not torch.equal(first.digit.weight, other.digit.weight)


def test_a_judge_is_saved_whole_and_loaded_strictly(judge: Judge, real, tmp_path: Path) -> None:
    hub.save_pretrained(judge, tmp_path)
    again = hub.from_pretrained(Judge, tmp_path)
    images = real_batches(real)[0][0]
    assert torch.equal(read_images(again, images), read_images(judge, images))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="is truncated or not a safetensors file"):
        hub.from_pretrained(Judge, tmp_path)


def test_a_judge_is_kept_for_the_canvases_that_it_was_trained_for(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def training(config: CaptionDataConfig) -> Judge:
        trained.append(config)
        return judge if config == CONFIG else Judge(judge_config(config)).eval()

    monkeypatch.setattr(captions, "train_judge", training)
    for _ in range(2):
        assert captions.kept_judge(CONFIG, tmp_path).config == judge.config
    assert trained == [CONFIG]
    larger = replace(CONFIG, side=48)
    for _ in range(2):
        assert captions.kept_judge(larger, tmp_path).config.side == 48
    assert trained == [CONFIG, larger]


def test_bad_input(judge: Judge, real) -> None:
    images, attributes = real_batches(real)[0]
    with pytest.raises(UsageError, match="3 images have 2 rows of attributes"):
        match_score(judge, images[:3], attributes[:2])
    with pytest.raises(UsageError, match="0 images have 0 rows of attributes"):
        match_score(judge, images[:0], attributes[:0])
    with pytest.raises(UsageError, match="canvas 32x32 has one image"):
        matching_rows(judge, [(images[:1], attributes[:1])], "m")
    with pytest.raises(UsageError, match="no images to match"):
        matching_rows(judge, [], "m")
    with pytest.raises(UsageError, match="not data source 'folder'"):
        train_judge(CaptionDataConfig(source="folder", path="x"))
