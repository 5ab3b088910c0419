"""The terms of the objective: pixel and KL in closed form, the discriminator, and perceptual distances."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.load import load_images
from tenfold.errors import TenfoldError, UsageError
from tenfold.metrics.features import ClassifierFeatures
from tenfold.metrics.inception import InceptionV3
from tenfold.starflow.autoencoder.config import AutoencoderObjective, DecoderObjective, ReconstructionConfig
from tenfold.starflow.autoencoder.loss import discriminator_hinge, generator_hinge, kl_divergence, pixel_distance
from tenfold.starflow.autoencoder.perceptual import load_perceptual, trained_perceptual
from tenfold.starflow.autoencoder.reconstruction import PatchDiscriminator


def test_pixel_distances() -> None:
    a, b = torch.zeros(2, 1, 2, 2), torch.tensor([0.0, 1.0, 2.0, -3.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    assert pixel_distance(a, b, "l1").tolist() == [1.5, 1.5]
    assert pixel_distance(a, b, "l2").tolist() == [3.5, 3.5]
    assert pixel_distance(a.bfloat16(), b.bfloat16(), "l2").dtype == torch.float32


def test_kl_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(3, 4, 2, 2, dtype=torch.float64), torch.randn(3, 4, 2, 2, dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0))
    found = kl_divergence(mean, log_variance)
    assert torch.allclose(found, expected.flatten(1).sum(dim=1).float(), atol=1e-4)
    assert float(kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3))) == 0.0


def test_hinge_losses() -> None:
    assert float(discriminator_hinge(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0]))) == pytest.approx(0.375)
    assert float(generator_hinge(torch.tensor([2.0, -0.5]))) == -0.75


class TestDiscriminator:
    def test_patches_of_any_sides(self) -> None:
        network = PatchDiscriminator(3, width=8, layers=3)
        assert network(torch.zeros(2, 3, 32, 16)).shape == (2, 1, 4, 2)
        assert len(network.shard_units) == 4

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        network = PatchDiscriminator(1, width=8, layers=2).double()
        x = torch.randn(4, 1, 16, 16, dtype=torch.float64)
        assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-12)

    def test_a_score_sees_its_patch_alone(self) -> None:
        network = PatchDiscriminator(1, width=8, layers=1).double()  # one layer has no norm over the whole image
        x = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x)[0, 0, 0, 0], x)
        rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
        assert rows.tolist() == list(range(5))  # two rows of the first layer: 4 and 2 more, one of them padding

    def test_images_too_small(self) -> None:
        with pytest.raises(
            UsageError, match="images of 8x4 are too small for a discriminator that halves them 2 times"
        ):
            PatchDiscriminator(1, layers=2).require(8, 4)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    ClassifierFeatures((1, 8, 8), 17, 10).save(tmp_path / "classifier")
    return tmp_path / "classifier"


def transformer(folder: Path, kind: str) -> Path:
    """A small model of random weights as transformers saves it."""
    import transformers

    vit = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "tokens":
        model: Any = transformers.ViTModel(transformers.ViTConfig(**vit, image_size=16, patch_size=4, num_channels=3))
    elif kind == "grey":
        model = transformers.ViTModel(transformers.ViTConfig(**vit, image_size=8, patch_size=4, num_channels=1))
    elif kind == "maps":
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        model = transformers.ResNetModel(config)
    elif kind == "pair":
        text = {**vit, "vocab_size": 12, "max_position_embeddings": 4}
        vision = {**vit, "image_size": 16, "patch_size": 8}
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision))
    else:
        model = transformers.BertModel(transformers.BertConfig(**vit, vocab_size=12))
    model.save_pretrained(folder)
    values = {
        "image_mean": [0.5] if kind == "grey" else [0.4, 0.5, 0.6],
        "image_std": [0.25] if kind == "grey" else [0.25] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def checked(place: Path, layers: int, channels: int = 1) -> None:
    """What every distance must satisfy."""
    distance = load_perceptual(str(place), (channels, 8, 8))
    x = (torch.rand(3, channels, 8, 8) * 2 - 1).requires_grad_()
    y = torch.rand(3, channels, 8, 8) * 2 - 1
    found = distance(x, y)
    assert found.shape == (3,)
    assert bool(((found > 1e-4) & (found <= 4)).all())
    assert torch.allclose(distance(x, x.detach()), torch.zeros(3), atol=1e-6)
    assert torch.allclose(distance(y, x.detach()), found, atol=1e-5)
    near = distance(x + 0.05 * (y - x), x.detach())
    assert bool((near < found).all())
    assert len(distance.layers(y)) == layers
    found.sum().backward()
    assert float(x.grad.abs().sum()) > 0
    assert all(not p.requires_grad and p.grad is None for p in distance.network.parameters())
    assert not distance.train().network.training
    assert len(distance.fingerprint) == 64


class TestPerceptual:
    def test_classifier(self, classifier: Path) -> None:
        checked(classifier, layers=3)

    def test_by_hand(self, classifier: Path) -> None:
        distance = load_perceptual(str(classifier), (1, 8, 8))
        x, y = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
        model = ClassifierFeatures.load(classifier)
        parts, a, b = [], x, y
        for layer in model.body:
            a, b = layer(a), layer(b)
            if isinstance(layer, torch.nn.SiLU):
                unit = [h / h.norm(dim=1, keepdim=True) for h in (a, b)]
                parts.append((unit[0] - unit[1]).square().sum(dim=1).mean(dim=(1, 2)))
        unit = [h / h.norm(dim=1, keepdim=True) for h in (model.hidden(a), model.hidden(b))]
        parts.append((unit[0] - unit[1]).square().sum(dim=1))
        expected = torch.stack(parts).mean(dim=0)
        assert torch.allclose(distance(x, y), expected, atol=1e-6)

    def test_a_classifier_of_the_images_at_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tenfold.starflow.autoencoder.perceptual._STEPS", 2)
        splits = load_images(ImageDataConfig(source="digits", levels=17, validation=20, test=60))
        first, again = trained_perceptual(splits), trained_perceptual(splits)
        x, y = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
        assert torch.equal(first(x, y), again(x, y))
        assert first.fingerprint == again.fingerprint
        other = load_images(ImageDataConfig(source="digits", levels=17, validation=20, test=61))
        assert trained_perceptual(other).fingerprint != first.fingerprint
        with pytest.raises(UsageError, match="is trained on labelled images, but the images have 0 classes"):
            trained_perceptual(replace(splits, classes=0))

    def test_inception(self, tmp_path: Path) -> None:
        torch.save(InceptionV3().state_dict(), tmp_path / "inception.pth")
        distance = load_perceptual(str(tmp_path / "inception.pth"), (1, 8, 8))
        x = torch.rand(2, 1, 8, 8) * 2 - 1
        with torch.no_grad():
            assert [layer.shape[1] for layer in distance.layers(x)] == [64, 192, 288, 768, 2048]
            found = distance(x, x.flip(0))
        assert bool((found > 0).all())
        assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-3)

    @pytest.mark.parametrize(
        ("kind", "layers", "channels"),
        [("tokens", 3, 1), ("tokens", 3, 3), ("grey", 3, 1), ("maps", 3, 1), ("pair", 3, 3)],
    )
    def test_transformers(self, tmp_path: Path, kind: str, layers: int, channels: int) -> None:
        checked(transformer(tmp_path / "m", kind), layers, channels)

    def test_images_are_prepared_as_the_model_was_trained(self, tmp_path: Path) -> None:
        folder = transformer(tmp_path / "m", "grey")
        distance = load_perceptual(str(folder), (1, 8, 8))
        x = torch.rand(2, 1, 8, 8) * 2 - 1
        hidden = distance.network(pixel_values=((x + 1) / 2 - 0.5) / 0.25, output_hidden_states=True).hidden_states
        for layer, expected in zip(distance.layers(x), hidden, strict=True):
            assert torch.allclose(layer, expected.transpose(1, 2), atol=1e-5)

    def test_fingerprints_follow_the_weights(self, tmp_path: Path) -> None:
        prints = set()
        for seed in range(2):
            torch.manual_seed(seed)
            folder = tmp_path / str(seed)
            ClassifierFeatures((1, 8, 8), 17, 10).save(folder)
            prints |= {load_perceptual(str(folder), (1, 8, 8)).fingerprint for _ in range(2)}
        assert len(prints) == 2

    @pytest.mark.parametrize(
        ("kind", "shape", "error", "sentence"),
        [
            ("text", (1, 8, 8), UsageError, "holds BertModel, which reads no images"),
            ("grey", (3, 8, 8), UsageError, "reads images with 1 channels, not 3"),
            ("unprepared", (1, 8, 8), UsageError, "has no preprocessor_config.json with image_mean"),
            ("damaged", (1, 8, 8), TenfoldError, "cannot be read as a transformers model"),
            ("partial", (1, 8, 8), UsageError, "lack layers.1.attention"),
        ],
    )
    def test_models_that_do_not_fit(
        self, tmp_path: Path, kind: str, shape: tuple[int, ...], error: type[Exception], sentence: str
    ) -> None:
        folder = transformer(tmp_path / "m", kind if kind in ("text", "grey") else "tokens")
        if kind == "unprepared":
            (folder / "preprocessor_config.json").unlink()
        if kind == "damaged":
            (folder / "model.safetensors").write_bytes(b"123")
        if kind == "partial":
            state = load_file(folder / "model.safetensors")
            save_file(
                {n: t for n, t in state.items() if ".1.attention" not in n},
                folder / "model.safetensors",
                {"format": "pt"},
            )
        with pytest.raises(error, match=sentence) as caught:
            load_perceptual(str(folder), shape)
        assert "\n" not in str(caught.value)

    def test_places_that_hold_no_network(self, tmp_path: Path, classifier: Path) -> None:
        with pytest.raises(UsageError, match="which is no folder of a saved classifier, no file of Inception weights"):
            load_perceptual(str(tmp_path / "none"), (1, 8, 8))
        with pytest.raises(UsageError, match="reads images with 1 channels, not 3; train one on these images"):
            load_perceptual(str(classifier), (3, 8, 8))
        (tmp_path / "text.pth").write_text("no weights")
        with pytest.raises(TenfoldError, match="is truncated or not a PyTorch checkpoint"):
            load_perceptual(str(tmp_path / "text.pth"), (1, 8, 8))


@pytest.mark.parametrize(
    ("settings", "changes", "sentence"),
    [
        (ReconstructionConfig, {"pixel_weight": -1.0}, r"pixel_weight is -1\.0; it must be at least 0"),
        (ReconstructionConfig, {"pixel_weight": 0.0}, "nothing asks for a faithful image"),
        (ReconstructionConfig, {"adversarial_weight": math.nan}, "adversarial_weight is nan"),
        (ReconstructionConfig, {"adversarial_start": -1}, "adversarial_start is -1"),
        (ReconstructionConfig, {"discriminator_layers": 0}, "discriminator_layers is 0; it must be at least 1"),
        (ReconstructionConfig, {"discriminator_rate": 0.0}, r"discriminator_rate is 0\.0; it must be above 0"),
        (AutoencoderObjective, {"kl_weight": -0.1}, r"kl_weight is -0\.1"),
        (AutoencoderObjective, {"scale_images": 0}, "scale_images is 0"),
        (AutoencoderObjective, {"shift": -1}, "shift is -1"),
        (DecoderObjective, {"sigma": 0.0}, r"sigma is 0\.0; give the standard deviation of the latents' noise"),
        (DecoderObjective, {"sigma": math.nan}, "sigma is nan"),
    ],
)
def test_bad_settings(settings: Any, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        settings(**changes)


def test_a_perceptual_distance_alone_is_an_objective() -> None:
    assert ReconstructionConfig(pixel_weight=0.0, perceptual="folder").perceptual_weight == 1.0
