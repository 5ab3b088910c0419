"""Autoencoders of ours in stock diffusers, and theirs in shards in ours."""

from pathlib import Path

import pytest
import torch

from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.starflow.autoencoder.weights import load_autoencoder

diffusers = pytest.importorskip("diffusers")
CONFIGS = [
    AutoencoderConfig(channels=3, widths=(8, 16), norm_groups=4, scale_factor=0.5, shift_factor=0.1),
    AutoencoderConfig(widths=(8, 8), norm_groups=4, layers_per_block=2, mid_attention=False, quant_convs=False),
]


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_either_reads_the_other(config: AutoencoderConfig, tmp_path: Path) -> None:
    ours = Autoencoder(config).eval()
    ours.save_pretrained(tmp_path / "ours", {"name": "mine"})
    theirs = diffusers.AutoencoderKL.from_pretrained(tmp_path / "ours").eval()
    x = torch.randn(2, config.channels, 8, 8).clamp(-1, 1)
    mean, _ = ours.posterior(x)
    torch.testing.assert_close(theirs.encode(x).latent_dist.mean, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs.decode(mean).sample, ours(x).reconstruction, atol=1e-5, rtol=1e-5)
    assert theirs.config.scaling_factor == config.scale_factor
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*-of-*.safetensors"))) > 1
    again = load_autoencoder(tmp_path / "theirs")
    assert again.config == config
    assert torch.equal(again.encode(x), ours.encode(x))
