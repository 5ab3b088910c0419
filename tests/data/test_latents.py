"""Latents on disk: what is written, read, resumed, and refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tenfold.data import latents as module
from tenfold.data.captions.compositions import compositions
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.images.splits import ArrayImages
from tenfold.data.latents import cache_latents, open_latents
from tenfold.data.tensor_file import TensorFile, read_tensor_file
from tenfold.errors import TenfoldError, UsageError


def images(count: int = 10) -> ArrayImages:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 1, 8, 12), generator=generator, dtype=torch.uint8)
    return ArrayImages(pixels, torch.arange(count))


class Encoder:
    """Means of 4x4 blocks in two channels, one halved and shifted; counts images and may fail at one."""

    def __init__(self, fail_at: int = -1) -> None:
        self.seen, self.fail_at = 0, fail_at

    def __call__(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen += len(x)
        if 0 <= self.fail_at < self.seen:
            raise RuntimeError("stopped")
        small = torch.nn.functional.avg_pool2d(x.double(), 4) / 255
        return torch.cat([small, 0.5 * small + 3], dim=1)


def test_latents_and_what_came_with_the_images(tmp_path: Path) -> None:
    source, encode = images(), Encoder()
    found = cache_latents(source, encode, "e", tmp_path / "deep" / "cache", batch=4)
    assert encode.seen == 10
    assert (len(found), found.channels, found.shapes, found.texts) == (10, 2, [(2, 2, 3)], ())
    rows = np.array([7, 0, 7, 9])
    batch = found.batch(rows)
    assert set(batch) == {"latent", "label"}
    assert batch["latent"].dtype == torch.float32
    assert batch["label"].tolist() == [7, 0, 7, 9]
    with torch.no_grad():
        expected = Encoder()(source.batch(np.arange(10))["image"])
    torch.testing.assert_close(batch["latent"].double(), expected[rows], atol=1e-6, rtol=0)
    torch.testing.assert_close(found.mean.double(), expected.mean(dim=(0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.std.double(), expected.std(dim=(0, 2, 3), correction=0), atol=1e-6, rtol=0)
    assert sorted(path.name for path in (tmp_path / "deep" / "cache").iterdir()) == [
        "latents-2x3.safetensors",
        "latents.json",
    ]
    # The file is what its name says: safetensors, to everybody.
    assert torch.equal(load_file(tmp_path / "deep" / "cache" / "latents-2x3.safetensors")["label"], torch.arange(10))


def test_a_cache_is_read_not_made_again(tmp_path: Path) -> None:
    cache_latents(images(), Encoder(), "e", tmp_path)
    again = Encoder()
    found = cache_latents(images(), again, "e", tmp_path)
    assert again.seen == 0
    assert found.fingerprint == open_latents(tmp_path).fingerprint
    assert found.fingerprint != cache_latents(images(), Encoder(), "f", tmp_path, stale="rebuild").fingerprint


def test_canvases_become_shards_with_their_captions(tmp_path: Path) -> None:
    source = compositions(CaptionDataConfig(ratios="1:1,21:9,9:21"), "train", 30)
    found = cache_latents(source, Encoder(), "e", tmp_path, batch=7)
    assert found.groups.tolist() == source.groups.tolist()
    assert found.shapes == [(2, 8, 8), (2, 5, 12), (2, 12, 5)]
    assert found.texts == source.texts
    for group in range(3):
        rows = np.flatnonzero(source.groups == group)[::-1]
        ours, theirs = found.batch(rows), source.batch(rows)
        for name in ("caption", "attributes", "label"):
            assert torch.equal(ours[name], theirs[name])
        with torch.no_grad():
            torch.testing.assert_close(ours["latent"], Encoder()(theirs["image"]).float())
    with pytest.raises(UsageError, match="a batch mixes 2 canvas shapes"):
        found.batch(np.array([np.flatnonzero(source.groups == group)[0] for group in (0, 1)]))


@pytest.mark.parametrize("fail_at", [0, 5, 13, 21, 29])
def test_an_interrupted_cache_is_taken_up_where_it_stopped(
    fail_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_SAVES", 0.0)
    source = compositions(CaptionDataConfig(ratios="1:1,21:9,9:21"), "train", 30)
    with pytest.raises(RuntimeError, match="stopped"):
        cache_latents(source, Encoder(fail_at), "e", tmp_path / "a", batch=2)
    with pytest.raises(UsageError, match="holds no finished latents"):
        open_latents(tmp_path / "a")
    rest = Encoder()
    resumed = cache_latents(source, rest, "e", tmp_path / "a", batch=2)
    assert rest.seen <= 30 - fail_at + 2
    cache_latents(source, Encoder(), "e", tmp_path / "b")
    assert (tmp_path / "a" / "latents.json").read_text() == (tmp_path / "b" / "latents.json").read_text()
    for file in (tmp_path / "b").glob("*.safetensors"):
        assert (tmp_path / "a" / file.name).read_bytes() == file.read_bytes()
    assert not [path for path in (tmp_path / "a").iterdir() if path.name.startswith(".")]
    assert len(resumed) == 30


def test_a_rest_of_other_images_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_SAVES", 0.0)
    with pytest.raises(RuntimeError):
        cache_latents(images(), Encoder(7), "e", tmp_path, batch=2)
    encode = Encoder()
    cache_latents(images(12), encode, "e", tmp_path, batch=2)
    assert encode.seen == 12


def test_stale_caches_are_refused_or_rebuilt(tmp_path: Path) -> None:
    cache_latents(images(), Encoder(), "one", tmp_path)
    before = (tmp_path / "latents.json").read_bytes()
    with pytest.raises(UsageError, match=r"come from another autoencoder \(fingerprint one, expected two\); rebuild"):
        cache_latents(images(), Encoder(), "two", tmp_path)
    with pytest.raises(UsageError, match="are of other images"):
        cache_latents(images(11), Encoder(), "one", tmp_path)
    with pytest.raises(UsageError, match="are of other images"):
        open_latents(tmp_path, images=images(11).fingerprint)
    assert (tmp_path / "latents.json").read_bytes() == before
    assert len(cache_latents(images(11), Encoder(), "two", tmp_path, stale="rebuild")) == 11
    with pytest.raises(UsageError, match="stale is 'maybe'"):
        cache_latents(images(), Encoder(), "one", tmp_path, stale="maybe")


def test_wrong_number_of_channels_is_one_sentence(tmp_path: Path) -> None:
    found = cache_latents(images(), Encoder(), "e", tmp_path)
    found.require_channels(2)
    with pytest.raises(UsageError, match="have 2 channels, but the flow expects 16"):
        found.require_channels(16)


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda x: x.float().flatten(1), r"turned 10 images into torch.float32 of shape \(10, 96\)"),
        (lambda x: x, "into torch.uint8 of shape"),
        (lambda x: x.float()[:3], r"of shape \(3, 1, 8, 12\)"),
        (
            lambda x: torch.where(torch.arange(10)[:, None, None, None] == 6, torch.nan, x.float()),
            "of image 6 are not finite",
        ),
    ],
)
def test_encoders_that_return_no_latents(encode, message: str, tmp_path: Path) -> None:
    with pytest.raises(TenfoldError, match=message):
        cache_latents(images(), encode, "e", tmp_path)
    assert not (tmp_path / "latents.json").exists()


def test_latents_of_two_canvases_must_differ_in_shape(tmp_path: Path) -> None:
    source = compositions(CaptionDataConfig(ratios="1:1,21:9"), "train", 8)
    with pytest.raises(TenfoldError, match="images of two shapes have latents of 1x1"):
        cache_latents(source, lambda x: x.float().mean(dim=(2, 3), keepdim=True), "e", tmp_path)
    with pytest.raises(UsageError, match="there are no images"):
        cache_latents(compositions(CaptionDataConfig(), "train", 0), Encoder(), "e", tmp_path)


def test_damaged_caches(tmp_path: Path) -> None:
    cache_latents(images(), Encoder(), "e", tmp_path / "whole")

    def damaged(change) -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        change(tmp_path / "copy" / "latents-2x3.safetensors", tmp_path / "copy" / "latents.json")
        return tmp_path / "copy"

    def index(file: Path, **changes) -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    cases = [
        (lambda shard, _: shard.write_bytes(shard.read_bytes()[:-4]), "is truncated or no safetensors file"),
        (lambda shard, _: shard.write_bytes(b"nonsense" * 9), "is truncated or no safetensors file"),
        (lambda shard, _: shard.unlink(), "does not exist"),
        (lambda _, file: file.write_text("{"), "is not valid JSON"),
        (lambda _, file: file.write_text("{}"), r"is damaged \(KeyError\('format'\)\)"),
        (lambda _, file: index(file, format=9), "has format 9, expected 1"),
        (lambda _, file: index(file, count=11), "lacks the latents of some records"),
        (lambda _, file: index(file, count=9), "is damaged"),
        (lambda _, file: index(file, encoder="other"), "is not of the cache that latents.json describes"),
    ]
    for change, message in cases:
        with pytest.raises(TenfoldError, match=message) as caught:
            open_latents(damaged(change))
        assert "\n" not in str(caught.value)


def test_tensor_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    shapes = {"a": (np.float32, (2, 3)), "none": (np.int64, (0, 4))}
    file = TensorFile(path, shapes, {"who": "me"})
    file.arrays["a"][1] = 7
    assert not path.exists()
    file.finish()
    arrays, metadata = read_tensor_file(path)
    assert metadata == {"who": "me"}
    assert arrays["a"].tolist() == [[0, 0, 0], [7, 7, 7]]
    assert arrays["none"].shape == (0, 4)
    with pytest.raises(ValueError, match="read-only"):
        arrays["a"][0] = 1
    assert load_file(path)["a"].tolist() == arrays["a"].tolist()
    with pytest.raises(TenfoldError, match="is not what was being written"):
        TensorFile(path, shapes, {}, resume=True)
    TensorFile(path, shapes, {}).discard()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]
