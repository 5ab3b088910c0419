"""Published autoencoders: every layout loads to the same network, and everything else is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.nn.autoencoder import Autoencoder
from tenfold.starflow.autoencoder.weights import load_autoencoder, rename
from tenfold.starflow.autoencoder.weights import read_autoencoder as read_published
from tests.starflow.autoencoder.published import CONFIG, diffusers_folder, legacy, original, small

SCALE = {"scale_factor": 0.5, "shift_factor": 0.25, "norm_groups": 4}
FILE = "diffusion_pytorch_model.safetensors"


def same(found: Autoencoder, expected: Autoencoder) -> bool:
    x = torch.rand(2, 3, 16, 8) * 2 - 1
    latents = expected.encode(x)
    return (
        found.config == expected.config
        and not found.training
        and torch.equal(found.encode(x), latents)
        and torch.equal(found.decode(latents), expected.decode(latents))
    )


def test_names_of_latent_diffusion() -> None:
    names = set(original(small().state_dict(), 3))
    assert {
        "encoder.down.0.block.1.norm1.weight",
        "encoder.down.1.downsample.conv.weight",
        "encoder.down.2.block.0.nin_shortcut.weight",
        "encoder.mid.block_1.conv1.weight",
        "encoder.mid.attn_1.q.weight",
        "encoder.mid.attn_1.proj_out.weight",
        "encoder.norm_out.weight",
        "encoder.conv_out.weight",
        "decoder.up.2.block.2.conv2.weight",
        "decoder.up.2.upsample.conv.weight",
        "decoder.up.0.block.0.norm1.weight",
        "quant_conv.weight",
    } <= names
    assert not any(name.startswith(("encoder.down.2.downsample", "decoder.up.0.upsample")) for name in names)


@pytest.mark.parametrize(
    "name", ["model", "run", "diffusers", "pickle", "half-named", "pipeline", "no-config", "file", "beside"]
)
def test_places_to_read_from(tmp_path: Path, name: str) -> None:
    expected = small()
    folder = diffusers_folder(tmp_path / "a", expected)
    if name == "model":
        hub.save_pretrained(expected, folder)
    elif name == "run":
        hub.save_pretrained(expected, tmp_path / "run" / "model")
        (tmp_path / "run" / "config.yaml").write_text("recipe: autoencoder-mnist\n")
        folder = tmp_path / "run"
    elif name == "pickle":
        torch.save(expected.state_dict(), folder / "diffusion_pytorch_model.bin")
        (folder / FILE).unlink()
    elif name == "half-named":
        (folder / FILE).rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    elif name == "pipeline":
        (tmp_path / "whole").mkdir()
        (tmp_path / "whole" / "model_index.json").write_text("{}")
        folder = folder.rename(tmp_path / "whole" / "vae").parent
    elif name == "beside":
        folder = folder / FILE
    elif name in ("no-config", "file"):
        (folder / "config.json").unlink()
        found = read_published(folder / FILE if name == "file" else folder, **SCALE)
        assert same(found, expected)
        return
    assert same(load_autoencoder(folder), expected)


@pytest.mark.parametrize("kind", ["legacy", "legacy-convolutions", "original", "whole", "wrapped"])
def test_older_names(tmp_path: Path, kind: str) -> None:
    expected = small()
    plain = dict(expected.state_dict())
    state: dict[str, Any] = original(plain, 3)
    if kind.startswith("legacy"):
        state = legacy(plain)
    if kind == "legacy-convolutions":
        state = {
            n: t[:, :, None, None] if ".query.weight" in n or ".proj_attn.weight" in n else t for n, t in state.items()
        }
        assert sum(tensor.ndim == 4 and "attentions" in name for name, tensor in state.items()) == 4
    if kind == "whole":
        extra = {"model.diffusion_model.out.weight": torch.zeros(3), "first_stage_model.loss.logvar": torch.zeros(())}
        state = {"state_dict": {**{f"first_stage_model.{n}": t for n, t in state.items()}, **extra}}
    if kind == "wrapped":
        state = {f"module.{n}": t for n, t in state.items()}
    torch.save(state, tmp_path / "a.ckpt")
    assert same(read_published(tmp_path / "a.ckpt", **SCALE), expected)


def test_half_precision_becomes_float32_and_double_stays(tmp_path: Path) -> None:
    state = small().state_dict()
    for dtype, expected in ((torch.float16, torch.float32), (torch.float64, torch.float64)):
        save_file({n: t.to(dtype) for n, t in state.items()}, tmp_path / "a.safetensors")
        found = read_published(tmp_path / "a.safetensors", **SCALE)
        assert {p.dtype for p in found.parameters()} == {expected}


def test_defaults_of_early_configurations(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "a", small())
    values = json.loads((folder / "config.json").read_text())
    for name in ("scaling_factor", "shift_factor", "latents_mean", "use_quant_conv", "mid_block_add_attention"):
        del values[name]
    (folder / "config.json").write_text(json.dumps(values))
    config = load_autoencoder(folder).config
    assert (config.scale_factor, config.shift_factor) == (0.18215, 0.0)
    assert config.quant_convs
    assert config.mid_attention


def test_a_given_scale_wins_over_the_file(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "a", small())
    assert read_published(folder, scale_factor=3.0).config.scale_factor == 3.0


def test_renaming_leaves_present_names_alone() -> None:
    state = small().state_dict()
    assert list(rename(state)) == list(state)


@pytest.mark.parametrize("kind", ["VQModel", "AutoencoderTiny", "AutoencoderDC", "AutoencoderKLWan"])
def test_other_families_by_their_configuration(tmp_path: Path, kind: str) -> None:
    folder = diffusers_folder(tmp_path / "a", small(), _class_name=kind)
    with pytest.raises(UsageError, match=rf"config\.json is of class {kind}; only AutoencoderKL"):
        load_autoencoder(folder)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("quantize.embedding.weight", (16, 4), "weights of class VQModel"),
        ("encoder.layers.3.conv.0.weight", (4, 4, 3, 3), "weights of class AutoencoderTiny"),
        ("decoder.time_conv_out.weight", (3, 3, 3), "weights of class AutoencoderKLTemporalDecoder"),
        ("encoder.down_blocks.0.0.conv1.weight", (4, 4, 3, 3), "weights of class AutoencoderDC"),
        ("encoder.conv1.weight", (4, 3, 3, 3, 3), "3-D convolutions of a video autoencoder"),
    ],
)
def test_other_families_by_their_tensors(tmp_path: Path, name: str, shape: tuple[int, ...], sentence: str) -> None:
    save_file({**small().state_dict(), name: torch.zeros(shape)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=sentence):
        read_published(tmp_path / "a.safetensors", **SCALE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"act_fn": "gelu"}, "has act_fn gelu; only silu"),
        ({"out_channels": 6}, "has out_channels 6; only 3"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "has down_block_types"),
        ({"use_post_quant_conv": False}, "has use_post_quant_conv False; only True"),
        ({"latents_mean": [0.0, 1.0, 2.0, 3.0]}, "has latents_mean"),
        ({"scaling_factor": 0}, r"a/config\.json: scale_factor is 0"),
        ({"scaling_factor": "big"}, "has scaling_factor 'big'; expected a number"),
        ({"norm_num_groups": 32}, "width 8 cannot be split into 32 groups"),
        ({"_class_name": None}, "is not from diffusers"),
    ],
)
def test_configurations_that_cannot_be_read(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_autoencoder(diffusers_folder(tmp_path / "a", small(), **changes))


def _without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: t for n, t in state.items() if n != name}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: _without(s, "decoder.conv_in.bias"), "missing decoder.conv_in.bias"),
        (lambda s: {**s, "decoder.more": torch.zeros(2)}, "extra decoder.more"),
        (
            lambda s: {**s, "decoder.conv_in.bias": torch.zeros(3)},
            r"decoder\.conv_in\.bias of shape \(3,\) instead of \(16,\)",
        ),
        (lambda s: _without(s, "encoder.conv_in.weight"), "is no AutoencoderKL: it lacks encoder.conv_in.weight"),
        (
            lambda s: {n: t for n, t in s.items() if ".down_blocks.1." not in n},
            "lacks encoder.down_blocks.1.resnets.0.conv1.weight",
        ),
        (lambda s: {"x": torch.zeros(2)}, "it has x"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, spoil: Any, sentence: str) -> None:
    save_file(spoil(dict(small().state_dict())), tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=sentence):
        read_published(tmp_path / "a.safetensors", **SCALE)


def test_the_read_geometry_is_told(tmp_path: Path) -> None:
    save_file(_without(dict(small().state_dict()), "decoder.conv_in.bias"), tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"read as AutoencoderConfig\(channels=3, .*widths=\(8, 8, 16\)"):
        read_published(tmp_path / "a.safetensors", **SCALE)


def test_the_scale_must_be_known(tmp_path: Path) -> None:
    save_file(dict(small().state_dict()), tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"give the scale factor \(0\.18215 for Stable Diffusion"):
        read_published(tmp_path / "a.safetensors", norm_groups=4)


def test_places_without_an_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no weights: none of diffusion_pytorch_model"):
        load_autoencoder(tmp_path)
    with pytest.raises(UsageError, match=r"neither a model folder nor a hub id"):
        load_autoencoder(tmp_path / "none")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("recipe: autoencoder-mnist\n")
    with pytest.raises(UsageError, match="has no trained model yet; finish it"):
        load_autoencoder(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "tarflow", "config": {}}))
    with pytest.raises(UsageError, match="is of a 'tarflow' model, expected 'autoencoder'"):
        load_autoencoder(tmp_path / "other")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "a.bin")
    with pytest.raises(UsageError, match="reading it could run code"):
        read_published(tmp_path / "a.bin", **SCALE)


def test_hub_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = small()
    folder = diffusers_folder(tmp_path / "snapshot" / "vae", expected).parent
    asked: list[list[str]] = []

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert name == "someone/pipeline"
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert same(load_autoencoder("someone/pipeline"), expected)
    assert len(asked) == 1
    assert not any(name.endswith(".bin") for name in asked[0])
    torch.save(load_file(folder / "vae" / FILE), folder / "vae" / "diffusion_pytorch_model.bin")
    (folder / "vae" / FILE).unlink()
    asked.clear()
    monkeypatch.setattr(hub, "resolve", lambda source, wanted: _partial(Path(source), asked, wanted, folder))
    assert same(load_autoencoder("someone/pipeline"), expected)
    assert [any(name.endswith(".bin") for name in wanted) for wanted in asked] == [False, True]


def _partial(source: Path, asked: list[list[str]], wanted: list[str], folder: Path) -> Path:
    """The hub's answer: pickled weights only when they are asked for."""
    if source.is_dir():
        return source
    asked.append(wanted)
    nothing = folder.parent / "nothing"
    nothing.mkdir(exist_ok=True)
    return folder if any(name.endswith(".bin") for name in wanted) else nothing


def test_the_configuration_of_these_tests_is_not_the_default() -> None:
    assert Autoencoder(CONFIG).config != Autoencoder.config_class()
