"""Checkpoints as others publish them, made from a small autoencoder of ours."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig

CONFIG = AutoencoderConfig(
    channels=3, widths=(8, 8, 16), layers_per_block=2, norm_groups=4, scale_factor=0.5, shift_factor=0.25
)


def small(config: AutoencoderConfig = CONFIG, seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    return Autoencoder(config).eval()


def diffusers_config(config: AutoencoderConfig, **changes: Any) -> dict[str, Any]:
    levels = len(config.widths)
    values = {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "block_out_channels": list(config.widths),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": True,
        "in_channels": config.channels,
        "latent_channels": config.latent_channels,
        "latents_mean": None,
        "latents_std": None,
        "layers_per_block": config.layers_per_block,
        "mid_block_add_attention": config.mid_attention,
        "norm_num_groups": config.norm_groups,
        "out_channels": config.channels,
        "sample_size": 512,
        "scaling_factor": config.scale_factor,
        "shift_factor": config.shift_factor,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_post_quant_conv": config.quant_convs,
        "use_quant_conv": config.quant_convs,
    }
    return {**values, **changes}


def diffusers_folder(folder: Path, autoencoder: Autoencoder, **changes: Any) -> Path:
    """config.json and diffusion_pytorch_model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(diffusers_config(autoencoder.config, **changes)))
    save_file(dict(autoencoder.state_dict()), folder / "diffusion_pytorch_model.safetensors")
    return folder


def legacy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of attention in early diffusers."""
    pairs = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    found = {}
    for name, tensor in state.items():
        for new, old in pairs.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        found[name] = tensor
    return found


def original(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """The names of latent diffusion's own code: the decoder's levels counted from the image, attention as 1x1
    convolutions."""
    found = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if m := re.match(r"(?:down|up)_blocks\.(\d)\.(resnets|downsamplers|upsamplers)\.(\d)\.(.*)", rest):
            number = int(m[1]) if part == "encoder" else levels - 1 - int(m[1])
            side = "down" if part == "encoder" else "up"
            end = m[4].replace("conv_shortcut", "nin_shortcut")
            stage = f"block.{m[3]}" if m[2] == "resnets" else f"{side}sample"
            name = f"{part}.{side}.{number}.{stage}.{end}"
        elif m := re.match(r"mid_block\.resnets\.(\d)\.(.*)", rest):
            name = f"{part}.mid.block_{int(m[1]) + 1}.{m[2]}"
        elif m := re.match(r"mid_block\.attentions\.0\.(group_norm|to_q|to_k|to_v|to_out\.0)\.(.*)", rest):
            short = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}[m[1]]
            name = f"{part}.mid.attn_1.{short}.{m[2]}"
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        elif rest.startswith("conv_norm_out."):
            name = f"{part}.{rest.removeprefix('conv_')}"
        found[name] = tensor.contiguous()
    return found
