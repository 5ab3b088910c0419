"""What is measured and drawn of an autoencoder: values by hand, one encoder for all, and the floor."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ArrayImages, ImageSplits
from tenfold.errors import UsageError
from tenfold.hub.folders import save_pretrained
from tenfold.metrics import features as image_features
from tenfold.nn.autoencoder import Autoencoder
from tenfold.runs.measurement import Measurement
from tenfold.starflow.autoencoder import evaluation
from tenfold.starflow.autoencoder import evaluation as pictures
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation
from tenfold.starflow.autoencoder.task import AutoencoderTask, images_for
from tests.starflow.autoencoder.recipes import DATA, MODEL, autoencoder_recipe, decoder_recipe


@pytest.fixture(scope="module")
def splits() -> ImageSplits:
    return images_for(DATA, MODEL, AutoencoderEvaluation())


def autoencoder(seed: int = 0, scale: float = 1.5) -> Autoencoder:
    torch.manual_seed(seed)
    return Autoencoder(replace(MODEL, scale_factor=scale, shift_factor=0.2)).eval()


def value(rows: list[Measurement], name: str, split: str, model: str) -> Measurement:
    found = [row for row in rows if (row.name, row.split, row.model) == (name, split, model)]
    assert len(found) == 1, [(row.name, row.split, row.model) for row in rows]
    return found[0]


@torch.no_grad()
def test_values_by_hand(splits: ImageSplits) -> None:
    model = autoencoder()
    rows = evaluation.measure({"mine": model}, splits, 0.3, with_fid=False)
    x = splits.test.images.float() / 8 - 1
    latents = model.encode(x)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for split, z in (("test", latents), ("test, latent noise 0.3", latents + 0.3 * noise)):
        errors = (model.decode(z).clamp(-1, 1) - x).square().mean(dim=(1, 2, 3))
        found = value(rows, "reconstruction_mse", split, "mine")
        assert found.value == pytest.approx(float(errors.mean()), rel=1e-4)
        assert found.standard_error == pytest.approx(float(errors.std()) / math.sqrt(len(x)), rel=1e-3)
        decibels = value(rows, "reconstruction_psnr", split, "mine").value
        assert decibels == pytest.approx(float((10 * (4 / errors).log10()).mean()), rel=1e-4)
    mean, log_variance = model.posterior(x)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
    assert value(rows, "posterior_kl", "test", "mine").value == pytest.approx(float(kl), rel=1e-4)
    bits = value(rows, "posterior_kl_bits", "test", "mine").value
    assert bits == pytest.approx(float(kl) / (64 * math.log(2)), rel=1e-4)
    assert value(rows, "latent_std", "test", "mine").value == pytest.approx(float(latents.std()), rel=1e-4)
    for channel in range(4):
        found = value(rows, "latent_std", f"test, channel {channel}", "mine").value
        assert found == pytest.approx(float(latents[:, channel].std()), rel=1e-4)
    spread = 1.5 * float((log_variance / 2).exp().mean())
    assert value(rows, "posterior_std", "test", "mine").value == pytest.approx(spread, rel=1e-4)
    assert {row.name for row in rows} == {
        "reconstruction_mse", "reconstruction_psnr", "posterior_kl", "posterior_kl_bits", "latent_mean", "latent_std",
        "posterior_std",
    }  # fmt: skip


def test_without_noise_there_is_no_noisy_row(splits: ImageSplits) -> None:
    rows = evaluation.measure({"mine": autoencoder()}, splits, 0.0, with_fid=False)
    assert not any("noise" in row.split for row in rows)


def test_decoders_are_compared_on_the_same_noisy_latents(splits: ImageSplits) -> None:
    model = autoencoder()
    rows = evaluation.measure({"a": model, "b": model}, splits, 0.3, with_fid=False)
    for name in ("reconstruction_mse", "reconstruction_psnr"):
        pair = [value(rows, name, "test, latent noise 0.3", which).value for which in "ab"]
        assert pair[0] == pair[1]
    assert {row.model for row in rows if row.name == "posterior_kl"} == {"a"}


def test_fid_has_a_floor_and_is_nothing_for_perfect_images(
    splits: ImageSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_features, "shared_classifier", partial(image_features.shared_classifier, steps=30))
    pixels = splits.test.images
    perfect = pixels.float() / 8 - 1
    rebuilt = {("perfect", "test"): perfect, ("black", "test"): -torch.ones_like(perfect)}
    rows = evaluation.fid_rows(splits, pixels, rebuilt)
    floor = value(rows, "fid", "floor", "real images").value
    assert value(rows, "fid", "test", "perfect").value == pytest.approx(0, abs=1e-6)
    assert 0 < floor < value(rows, "fid", "test", "black").value
    assert {row.name for row in rows} == {"fid", "kid"}
    assert "N = 60, against the same images; 32 features" in value(rows, "fid", "test", "black").note


def test_pictures(splits: ImageSplits, tmp_path: Path) -> None:
    written = pictures.draw({"mine": autoencoder(), "plain decoder": autoencoder(1)}, splits, 0.3, tmp_path)
    assert [path.name for path in written] == ["reconstructions.png", "latents.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    captions = json.loads((tmp_path / "captions.json").read_text())
    assert "Gaussian noise of standard deviation 0.3" in captions["reconstructions.png"]


def test_cost_counts_what_is_trained(tmp_path: Path) -> None:
    model = Autoencoder(MODEL)
    save_pretrained(model, tmp_path / "start")
    recipes = (autoencoder_recipe(), decoder_recipe(tmp_path / "start"))
    whole, decoder = (AutoencoderTask.describe(recipe) for recipe in recipes)
    frozen = sum(p.numel() for n, p in model.named_parameters() if n.startswith(("encoder.", "quant_conv.")))
    assert whole["parameters"] == whole["trained_parameters"] == sum(p.numel() for p in model.parameters())
    assert decoder["trained_parameters"] == whole["parameters"] - frozen
    assert decoder["flops_per_step"] < whole["flops_per_step"]
    assert decoder["activation_bytes"] < whole["activation_bytes"]
    assert (whole["latent_channels"], whole["latent_height"], whole["latent_width"]) == (4, 4, 4)
    with pytest.raises(UsageError, match=r"set --data\.height and --data\.width"):
        AutoencoderTask.describe(replace(autoencoder_recipe(), data=ImageDataConfig(source="folder", path="x")))


def test_images_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="the images have 1 channels, but the autoencoder reads 3"):
        images_for(DATA, replace(MODEL, channels=3), AutoencoderEvaluation())
    deep = replace(MODEL, widths=(8, 8, 8, 8, 8))
    with pytest.raises(UsageError, match=r"image of 8x8 .* multiples of 16; resize it, to 16x16 say \(--data\.height"):
        images_for(DATA, deep, AutoencoderEvaluation())


def test_fid_needs_labels(monkeypatch: pytest.MonkeyPatch, splits: ImageSplits) -> None:
    none = ArrayImages(splits.test.images, -torch.ones(60, dtype=torch.int64))
    unlabelled = replace(splits, classes=0, train=none, test=none)
    monkeypatch.setattr("tenfold.starflow.autoencoder.task.load_images", lambda config: unlabelled)
    with pytest.raises(UsageError, match=r"needs labels and random access; set --evaluation\.fid false"):
        images_for(DATA, MODEL, AutoencoderEvaluation(fid=True))
    assert images_for(DATA, MODEL, AutoencoderEvaluation()).classes == 0
