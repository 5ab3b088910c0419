"""The autoencoder's network: against a second writing of it, its shapes, its scale, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.nn.autoencoder import Autoencoder, GroupNorm
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tests.nn import kl_autoencoder

SMALL = AutoencoderConfig(channels=1, widths=(8, 16), norm_groups=4)
GEOMETRIES = {
    "small": SMALL,
    "deep": AutoencoderConfig(channels=3, latent_channels=3, widths=(8, 8, 16, 16), layers_per_block=2, norm_groups=8),
    "bare": replace(SMALL, mid_attention=False, quant_convs=False, latent_channels=16),
    "one-level": replace(SMALL, widths=(8,)),
}


def random_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """In float64, with norms that are not the identity."""
    autoencoder = Autoencoder(config).double().eval()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return autoencoder


@pytest.mark.parametrize("config", GEOMETRIES.values(), ids=GEOMETRIES)
def test_equals_a_second_writing(config: AutoencoderConfig) -> None:
    autoencoder = random_autoencoder(config)
    state, levels, groups = dict(autoencoder.state_dict()), len(config.widths), config.norm_groups
    x = torch.rand(2, config.channels, 3 * config.factor, 2 * config.factor, dtype=torch.float64) * 2 - 1
    mean, log_variance = autoencoder.posterior(x)
    expected = kl_autoencoder.moments(state, x, levels, groups)
    assert mean.shape == (2, config.latent_channels, 3, 2)
    assert torch.allclose(torch.cat([mean, log_variance], dim=1), expected, atol=1e-11)
    z = torch.randn_like(mean)
    assert torch.allclose(autoencoder.decode(z), kl_autoencoder.decoded(state, z, levels, groups), atol=1e-11)
    seen: set[str] = set()

    class Watching(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            seen.add(name)
            return super().__getitem__(name)

    kl_autoencoder.moments(Watching(state), x, levels, groups)
    kl_autoencoder.decoded(Watching(state), z, levels, groups)
    assert seen == set(state)  # no tensor besides the published ones


def test_published_names_of_the_geometry_of_stable_diffusion() -> None:
    with torch.device("meta"):
        config = AutoencoderConfig(3, 4, (128, 256, 512, 512), 2, 32)
        state = Autoencoder(config).state_dict()
    assert len(state) == 248
    assert sum(tensor.numel() for tensor in state.values()) == 83_653_863  # as published
    assert config.factor == 8
    for name, shape in {
        "encoder.down_blocks.1.resnets.0.conv_shortcut.weight": (256, 128, 1, 1),
        "encoder.down_blocks.2.downsamplers.0.conv.weight": (512, 512, 3, 3),
        "encoder.mid_block.attentions.0.to_out.0.weight": (512, 512),
        "encoder.conv_out.weight": (8, 512, 3, 3),
        "decoder.up_blocks.2.resnets.0.conv_shortcut.weight": (256, 512, 1, 1),
        "decoder.up_blocks.3.resnets.2.conv2.weight": (128, 128, 3, 3),
        "quant_conv.weight": (8, 8, 1, 1),
        "post_quant_conv.weight": (4, 4, 1, 1),
    }.items():
        assert tuple(state[name].shape) == shape, name


@pytest.mark.parametrize(("height", "width"), [(40, 24), (4, 4), (8, 20)])
def test_rectangular_images(height: int, width: int) -> None:
    autoencoder = Autoencoder(replace(SMALL, widths=(8, 8, 16)))
    x = torch.rand(2, 1, height, width) * 2 - 1
    latents = autoencoder.encode(x)
    assert latents.shape == (2, 4, height // 4, width // 4)
    assert latents.shape[1:] == autoencoder.config.latent_shape(height, width)
    assert autoencoder.decode(latents).shape == x.shape
    output = autoencoder(x, torch.randn_like(latents))
    assert output.reconstruction.shape == x.shape
    assert output.mean.shape == output.log_variance.shape == latents.shape


def test_latents_are_shifted_then_scaled() -> None:
    plain = random_autoencoder(SMALL)
    scaled = Autoencoder(replace(SMALL, scale_factor=2.5, shift_factor=-0.75)).double().eval()
    scaled.load_state_dict(plain.state_dict())
    x = torch.rand(2, 1, 8, 6, dtype=torch.float64)
    latents = scaled.encode(x)
    assert torch.allclose(latents, (plain.encode(x) + 0.75) * 2.5, atol=1e-12)
    assert torch.allclose(scaled.decode(latents), plain(x).reconstruction, atol=1e-12)
    assert torch.equal(scaled.posterior(x)[0], plain.posterior(x)[0])


def test_the_training_computation_draws_from_the_posterior() -> None:
    autoencoder = random_autoencoder(SMALL)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    noise = torch.randn(3, 4, 4, 4, dtype=torch.float64)
    output = autoencoder(x, noise)
    mean, log_variance = autoencoder.posterior(x)
    assert torch.equal(output.mean, mean)
    assert torch.equal(output.log_variance, log_variance)
    assert torch.allclose(output.reconstruction, autoencoder.decode(mean + torch.exp(log_variance / 2) * noise))
    assert not torch.allclose(output.reconstruction, autoencoder(x).reconstruction)


def test_an_extreme_posterior_stays_finite() -> None:
    autoencoder = Autoencoder(SMALL)
    with torch.no_grad():
        autoencoder.quant_conv.bias[4:] = 1e4
    output = autoencoder(torch.zeros(1, 1, 8, 8), torch.randn(1, 4, 4, 4))
    assert float(output.log_variance.detach().max()) == 20.0
    assert torch.isfinite(output.reconstruction).all()


def test_norms_take_their_statistics_in_float32() -> None:
    x = 300 + torch.randn(2, 8, 16, 16)
    norm = GroupNorm(2, 8)
    low = norm.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    expected = torch.nn.functional.group_norm(x.bfloat16().float(), 2)
    assert float((low.float() - expected).abs().max()) < 0.02


def test_bf16_is_near_float32() -> None:
    autoencoder = Autoencoder(SMALL)
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    with torch.no_grad():
        expected = autoencoder(x).reconstruction
        found = autoencoder.bfloat16()(x.bfloat16()).reconstruction
    assert found.dtype == torch.bfloat16
    assert float((found.float() - expected).abs().max()) < 0.05


def test_units_cover_the_network_once() -> None:
    autoencoder = Autoencoder(SMALL)
    inside = [p for unit in autoencoder.shard_units for p in unit.parameters()]
    assert len({id(p) for p in inside}) == len(inside)
    rest = {n for n, p in autoencoder.named_parameters() if id(p) not in {id(q) for q in inside}}
    assert {name.split(".")[-2] for name in rest} == {
        "conv_in",
        "conv_norm_out",
        "conv_out",
        "quant_conv",
        "post_quant_conv",
    }


def test_folder_round_trip(tmp_path: Path) -> None:
    autoencoder = Autoencoder(replace(SMALL, scale_factor=0.18215, shift_factor=0.1, mid_attention=False))
    hub.save_pretrained(autoencoder, tmp_path / "m", {"sigma": 0.3})
    again = hub.from_pretrained(Autoencoder, tmp_path / "m")
    assert again.config == autoencoder.config
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(again.encode(x), autoencoder.eval().encode(x))
    assert hub.read_config(tmp_path / "m")["sigma"] == 0.3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scale_factor": 0.0}, r"scale_factor is 0\.0; give .* above 0"),
        ({"scale_factor": -0.2}, r"scale_factor is -0\.2"),
        ({"scale_factor": math.nan}, "scale_factor is nan"),
        ({"scale_factor": math.inf}, "scale_factor is inf"),
        ({"shift_factor": math.nan}, "shift_factor is nan"),
        ({"widths": ()}, r"widths are \(\)"),
        ({"widths": (8, 0)}, r"widths are \(8, 0\)"),
        ({"widths": (8, 18)}, "width 18 cannot be split into 4 groups"),
        ({"channels": 0}, "channels is 0; it must be at least 1"),
        ({"latent_channels": 0}, "latent_channels is 0"),
        ({"layers_per_block": 0}, "layers_per_block is 0"),
        ({"norm_groups": 0}, "norm_groups is 0"),
    ],
)
def test_bad_settings(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 1, 9, 8), "image of 9x8 cannot be encoded: both sides must be multiples of 2; resize it, to 8x8 say"),
        ((1, 1, 8, 3), "image of 8x3"),
        ((1, 3, 8, 8), "images have 3 channels, but the autoencoder reads 1"),
    ],
)
def test_bad_images(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Autoencoder(SMALL).encode(torch.zeros(shape))


def test_bad_latents() -> None:
    with pytest.raises(UsageError, match="latents have 3 channels, but the autoencoder's have 4"):
        Autoencoder(SMALL).decode(torch.zeros(1, 3, 4, 4))
