"""Denoisers of other people: conventions against a closed form, diffusers' layout, published energies."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tenfold.energy import AdaptedScore, EnergyConfig, EnergyModel, GaussianMixture, read_published, read_teacher
from tenfold.energy.foreign.teachers import alphas_bar
from tenfold.energy.noise import DdpmLevels, LinearBeta
from tenfold.errors import UsageError

KNOWN = GaussianMixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[1.0, 0.0], [-0.5, 0.8]]),
    torch.stack([0.2 * torch.eye(2), 0.1 * torch.eye(2)]),
)
PREDICTIONS = {
    "x0": lambda clean, noise, scale, level: clean,
    "epsilon": lambda clean, noise, scale, level: noise,
    "v": lambda clean, noise, scale, level: scale * noise - level * clean,
    "velocity": lambda clean, noise, scale, level: noise - clean,
    "score": lambda clean, noise, scale, level: -noise / level,
}


@pytest.mark.parametrize(
    ("convention", "prediction"),
    [
        ("variance_exploding", "x0"),
        ("variance_exploding", "epsilon"),
        ("variance_preserving", "epsilon"),
        ("variance_preserving", "v"),
        ("variance_preserving", "score"),
        ("flow_matching", "velocity"),
        ("flow_matching", "x0"),
    ],
)
def test_conventions_are_the_same_score(convention: str, prediction: str) -> None:
    clock = LinearBeta() if convention == "variance_preserving" else None

    def network(seen: Tensor, t: Tensor) -> Tensor:
        """What a perfect network of that convention says, told t alone."""
        if clock is not None:
            sigma = clock.sigma(t)
            scale = (1 + sigma.square()).rsqrt()
        elif convention == "flow_matching":
            sigma, scale = t / (1 - t), 1 - t
        else:
            sigma, scale = t, torch.ones_like(t)
        scale, sigma = scale[:, None], sigma[:, None]
        clean = KNOWN.denoiser(seen / scale, sigma[:, 0])
        level = sigma * scale
        return PREDICTIONS[prediction](clean, (seen - scale * clean) / level, scale, level)

    times = {
        "variance_preserving": LinearBeta().time,
        "flow_matching": lambda sigma: sigma / (1 + sigma),
        "variance_exploding": lambda sigma: sigma,
    }
    model = AdaptedScore(network, (2,), prediction, convention, times[convention], KNOWN.data_scale)
    x, sigma = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0.05, 0.3, 1.0, 4.0, 20.0], dtype=torch.float64)
    torch.testing.assert_close(model.score(x, sigma), KNOWN.score(x, sigma), rtol=1e-7, atol=1e-9)


def test_what_is_not_declared_is_refused() -> None:
    with pytest.raises(UsageError, match="prediction is declared as 'noise'"):
        AdaptedScore(lambda x, t: x, (2,), "noise", "variance_preserving", lambda s: s, 1.0)
    with pytest.raises(UsageError, match="convention is 'ddpm'; expected variance_exploding"):
        AdaptedScore(lambda x, t: x, (2,), "epsilon", "ddpm", lambda s: s, 1.0)


# --- diffusers --------------------------------------------------------------------------------------------------------


class Unet(nn.Module):
    """What stands for a ``UNet2DModel``: smooth, told the step and the class."""

    def __init__(self, in_channels: int = 1, num_class_embeds: int | None = None, **others: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.embed = nn.Embedding(num_class_embeds, 1) if num_class_embeds else None

    @classmethod
    def from_config(cls, settings: dict[str, Any]) -> "Unet":
        return cls(**settings)

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> SimpleNamespace:
        shift = (0.01 * t).sin()[:, None, None, None]
        if self.embed is not None and class_labels is not None:
            shift = shift + self.embed(class_labels)[..., None, None]
        return SimpleNamespace(sample=torch.tanh(self.conv(x)) + shift)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("diffusers")
    module.UNet2DModel = Unet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diffusers", module)


def pipeline(folder: Path, unet: Any, network: dict[str, Any], **scheduler: Any) -> Path:
    """A folder in the layout of a diffusers pipeline."""
    (folder / "unet").mkdir(parents=True)
    (folder / "scheduler").mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **network}))
    save_file(unet.state_dict(), folder / "unet" / "diffusion_pytorch_model.safetensors")
    levels = {"num_train_timesteps": 50, "beta_start": 1e-3, "beta_end": 0.2, "beta_schedule": "linear"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({**levels, **scheduler}))
    return folder


def expected(unet: Any, x: Tensor, step: Tensor, alphas: Tensor, prediction: str) -> Tensor:
    """D by the formulas of DDPM."""
    a = alphas[step].float().view(-1, 1, 1, 1)
    seen = a.sqrt() * x
    out = unet(seen, step.float()).sample
    if prediction == "epsilon":
        return (seen - (1 - a).sqrt() * out) / a.sqrt()
    return a.sqrt() * seen - (1 - a).sqrt() * out if prediction == "v_prediction" else out


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_pipelines_are_read_as_denoisers(tmp_path: Path, stand_in: None, prediction: str) -> None:
    network = {"sample_size": 4, "in_channels": 1, "out_channels": 1}
    unet = Unet()
    model = read_teacher(str(pipeline(tmp_path / "p", unet, network, prediction_type=prediction)))
    alphas = torch.cumprod(1 - torch.linspace(1e-3, 0.2, 50, dtype=torch.float64), 0)
    levels = DdpmLevels(alphas).levels
    step = torch.tensor([2, 20, 49])
    sigma = levels[step].float()
    x = sigma.view(-1, 1, 1, 1) * torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(model(x, sigma), expected(unet, x, step, alphas, prediction), rtol=1e-4, atol=1e-5)
    # The same network inside of an energy, and in our own folder.
    energy = EnergyModel(EnergyConfig(**vars(model.config)))
    energy.start_from(model)
    energy.save_pretrained(tmp_path / "energy")
    again = EnergyModel.from_pretrained(tmp_path / "energy")
    torch.testing.assert_close(again.energy(x, sigma), energy.eval().energy(x, sigma))
    again(x, sigma).denoised.square().mean().backward()


def test_the_package_itself(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    network = {
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 16], "layers_per_block": 1,
        "norm_num_groups": 4, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 8,
    }  # fmt: skip
    unet = diffusers.UNet2DModel(**network)
    model = read_teacher(str(pipeline(tmp_path / "p", unet, network)))
    step = torch.tensor([3, 40])
    alphas = diffusers.DDPMScheduler(50, 1e-3, 0.2).alphas_cumprod
    sigma = ((1 - alphas[step]) / alphas[step]).sqrt()
    x = sigma.view(-1, 1, 1, 1) * torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(model(x, sigma), expected(unet, x, step, alphas, "epsilon"), rtol=1e-3, atol=1e-4)


def test_classes_must_be_told(tmp_path: Path, stand_in: None) -> None:
    network = {"sample_size": 4, "in_channels": 1, "out_channels": 1, "num_class_embeds": 3}
    model = read_teacher(str(pipeline(tmp_path / "p", Unet(num_class_embeds=3), network)))
    x, sigma = torch.randn(2, 1, 4, 4), torch.tensor(1.0)
    assert model.given(2).score(x, sigma).shape == x.shape
    with pytest.raises(UsageError, match="the network knows 3 classes; say which"):
        model.score(x, sigma)


@pytest.mark.parametrize(
    ("network", "scheduler", "message"),
    [
        ({"sample_size": 4, "in_channels": 1, "out_channels": 2}, {}, "as many channels out as in"),
        ({"in_channels": 1, "out_channels": 1}, {}, "must have a sample_size"),
        ({"_class_name": "UNet2DConditionModel"}, {}, "holds a UNet2DConditionModel"),
        ({"sample_size": 4, "in_channels": 1, "out_channels": 1}, {"prediction_type": "flow"}, "predicts 'flow'"),
        ({"sample_size": 4, "in_channels": 1, "out_channels": 1}, {"beta_schedule": "exp"}, "beta_schedule is 'exp'"),
        ({"sample_size": 4, "in_channels": 1, "out_channels": 1}, {"rescale_betas_zero_snr": True}, "pure noise"),
    ],
)
def test_pipelines_that_do_not_fit(
    tmp_path: Path, stand_in: None, network: dict[str, Any], scheduler: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_teacher(str(pipeline(tmp_path / "p", Unet(), network, **scheduler)))


def test_what_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a pickled network, and reading one runs its code"):
        read_teacher("edm-cifar10-32x32-uncond-vp.pkl")
    save_file({"a": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UsageError, match="without its noise levels and what it predicts"):
        read_teacher(str(tmp_path))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has no unet/diffusion_pytorch_model\.safetensors"):
        read_teacher(str(tmp_path))


def test_schedules_of_diffusers() -> None:
    """ᾱ against their definitions, at a few steps computed by hand."""
    linear = alphas_bar({"num_train_timesteps": 3, "beta_start": 0.1, "beta_end": 0.3})
    torch.testing.assert_close(linear, torch.tensor([0.9, 0.72, 0.504], dtype=torch.float64))
    scaled = alphas_bar(
        {"num_train_timesteps": 2, "beta_start": 0.01, "beta_end": 0.25, "beta_schedule": "scaled_linear"}
    )
    torch.testing.assert_close(scaled, torch.tensor([0.99, 0.7425], dtype=torch.float64))
    given = alphas_bar({"trained_betas": [0.5, 0.5]})
    torch.testing.assert_close(given, torch.tensor([0.5, 0.25], dtype=torch.float64))
    cosine = alphas_bar({"num_train_timesteps": 10, "beta_schedule": "squaredcos_cap_v2"})
    turns = (torch.arange(1, 10, dtype=torch.float64) / 10 + 0.008) / 1.008 * (np.pi / 2)
    start = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    torch.testing.assert_close(cosine[:9], turns.cos().square() / start)


# --- published energies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempered", [False, True])
def test_published_energies_are_read(tmp_path: Path, fixtures: Path, tempered: bool) -> None:
    stored, prefix = np.load(fixtures / "energy_diffusion" / "energy_net.npz"), f"pb{int(tempered)}_"
    found = {name.removeprefix(prefix): torch.from_numpy(stored[name]) for name in stored if name.startswith(prefix)}
    tensors = {f"energy_net.{n.removeprefix('param.')}": t for n, t in found.items() if n.startswith("param.")}
    torch.save({"state_dict": tensors}, tmp_path / "pita.ckpt")
    model = read_published(tmp_path / "pita.ckpt", float(found["beta"]), tempered)
    assert next(model.parameters()).dtype == torch.float64
    value, score = model.log_density_and_score(found["x"], found["h"].sqrt())
    torch.testing.assert_close(-value, found["energy"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(-score, found["grad_energy"], rtol=1e-9, atol=1e-9)
    model.save_pretrained(tmp_path / "ours")
    again = EnergyModel.from_pretrained(tmp_path / "ours")
    assert (again.config.scale, again.config.data_scale) == (1.0, 1.0)
    torch.testing.assert_close(again.energy(found["x"], found["h"].sqrt()), found["energy"], rtol=1e-9, atol=1e-9)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    save_file({"net.dense.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"it has no net\.l1\.weight; it has net\.dense"):
        read_published(tmp_path / "a.safetensors")
    save_file({"net.l1.weight": torch.zeros(4, 5), "net.l2.weight": torch.zeros(4, 4)}, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="do not fit 2 linear layers"):
        read_published(tmp_path / "b.safetensors")
