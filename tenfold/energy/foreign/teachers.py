"""Denoisers to learn from and to compose: runs and model folders, pipelines in the layout of the package diffusers, and
any network in Python whose convention is declared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.energy import noise
from tenfold.energy.composition.algebra import Composable
from tenfold.energy.config import BackboneConfig, DenoisingConfig
from tenfold.energy.model import DenoisingModel
from tenfold.errors import UsageError
from tenfold.files import json_text, read_json
from tenfold.hub.checkpoints import read_safetensors
from tenfold.hub.fetch import CONFIG, model_folder, resolve
from tenfold.hub.folders import load_strict
from tenfold.settings.arguments import read_all_arguments

_INDEX, _UNET, _SCHEDULER = "model_index.json", "unet", "scheduler/scheduler_config.json"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_WANTED = (_INDEX, f"{_UNET}/{CONFIG}", f"{_UNET}/{_WEIGHTS}", _SCHEDULER, CONFIG, "model.safetensors")
_PREDICTIONS: dict[str, Literal["epsilon", "v", "x0"]] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}


def read_teacher(source: str) -> DenoisingModel:
    """The denoiser of a run, a model folder, a pipeline's folder in diffusers' layout, or a hub id of either.

    Raises UsageError for pickles, for a network without its noise levels, and for what is none of them."""
    path = Path(source)
    if path.suffix in (".pkl", ".pickle"):
        raise UsageError(
            f"{source} is a pickled network, and reading one runs its code; open it with the code that it is from and "
            "hand the network to tenfold.energy.AdaptedScore, or save it as a diffusers pipeline of safetensors"
        )
    folder = path if path.is_dir() and (path / _UNET / CONFIG).is_file() else None
    if folder is None and not path.exists() and source.count("/") == 1:
        folder = resolve(source, wanted=_WANTED)
    if folder is not None and (folder / _UNET / CONFIG).is_file():
        return read_diffusers(folder)
    if path.is_dir() and (path / _WEIGHTS).is_file():
        raise UsageError(
            f"{source} is a network of diffusers without its noise levels and what it predicts; give the pipeline's "
            f"folder, which has {_UNET}/ and {_SCHEDULER}"
        )
    return DenoisingModel.from_pretrained(folder or model_folder(source))


def read_diffusers(folder: Path) -> DenoisingModel:
    """A pipeline of a ``UNet2DModel`` in a folder: ``unet/`` and ``scheduler/``, of safetensors alone.

    Raises UsageError for other networks, other noise, and files that are missing."""
    for name in (f"{_UNET}/{CONFIG}", f"{_UNET}/{_WEIGHTS}", _SCHEDULER):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} has no {name}; a teacher needs the network, its weights and its noise levels")
    network, scheduler = read_json(folder / _UNET / CONFIG), read_json(folder / _SCHEDULER)
    if network.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise UsageError(f"{folder} holds a {network['_class_name']}; teachers are networks of the kind UNet2DModel")
    side, channels = network.get("sample_size"), network.get("in_channels", 3)
    if network.get("out_channels", 3) != channels or not side:
        raise UsageError(f"{folder}/{_UNET}/{CONFIG} must have a sample_size, and as many channels out as in")
    height, width = (side, side) if isinstance(side, int) else side
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise UsageError(f"{folder}/{_SCHEDULER} predicts {prediction!r}; expected {', '.join(_PREDICTIONS)}")
    levels = noise.DdpmLevels(alphas_bar(scheduler)).levels.tolist()
    definition = {name: value for name, value in network.items() if not name.startswith("_")}
    config = DenoisingConfig(
        shape=(channels, height, width),
        network=BackboneConfig(kind="diffusers", definition=json_text(definition), prediction=_PREDICTIONS[prediction]),
        data_scale=1.0,
        noise_input="steps",
        steps=tuple(levels),
        sigma_min=levels[0],
        sigma_max=levels[-1],
        classes=network.get("num_class_embeds") or 0,
    )
    model = DenoisingModel(config)
    unet: Any = model.network
    load_strict(unet.unet, read_safetensors(folder / _UNET / _WEIGHTS), str(folder / _UNET))
    return model.eval()


def alphas_bar(scheduler: dict[str, Any]) -> Float[Tensor, " t"]:
    """ᾱ of every step of a scheduler of diffusers, float64.

    Raises UsageError for schedules that are not known, and for one whose last step is pure noise."""
    count, kind = int(scheduler.get("num_train_timesteps", 1000)), scheduler.get("beta_schedule", "linear")
    low, high = float(scheduler.get("beta_start", 1e-4)), float(scheduler.get("beta_end", 0.02))
    if scheduler.get("rescale_betas_zero_snr"):
        raise UsageError("the scheduler's last step is pure noise (rescale_betas_zero_snr), where sigma is infinite")
    if scheduler.get("trained_betas") is not None:
        betas = torch.tensor(scheduler["trained_betas"], dtype=torch.float64)
    elif kind == "linear":
        betas = torch.linspace(low, high, count, dtype=torch.float64)
    elif kind == "scaled_linear":
        betas = torch.linspace(low**0.5, high**0.5, count, dtype=torch.float64).square()
    elif kind == "squaredcos_cap_v2":
        turns = (torch.arange(count + 1, dtype=torch.float64) / count + 0.008) / 1.008 * (torch.pi / 2)
        kept = turns.cos().square()
        betas = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    else:
        raise UsageError(
            f"the scheduler's beta_schedule is {kind!r}; expected linear, scaled_linear or squaredcos_cap_v2"
        )
    return torch.cumprod(1 - betas, 0)


Convention = Literal["variance_exploding", "variance_preserving", "flow_matching"]
_CONVENTIONS: dict[str, Callable[[Tensor], noise.ScaleAndNoise]] = {
    "variance_exploding": noise.variance_exploding,
    "variance_preserving": noise.variance_preserving,
    "flow_matching": noise.flow_matching,
}


@read_all_arguments
class AdaptedScore(nn.Module, Composable):
    """Any network in Python as a score: what it predicts, of which noise, and what number tells it the level.

    Args:
        network: called with (x_t, t), of shapes (n, *shape) and (n,).
        shape: of a sample.
        prediction: "x0", "epsilon", "v", "velocity" or "score" (of x_t); nothing in a network tells it.
        convention: of x_t = α x_0 + s n: "variance_preserving", "flow_matching" or "variance_exploding".
        clock: t as a function of σ: ``LinearBeta().time``, ``DdpmLevels(...).index``, σ itself.
        data_scale: σ_d, the standard deviation of the data.

    Raises:
        UsageError: another prediction or convention.

    >>> noise_free = AdaptedScore(lambda x, t: x * 0, (2,), "x0", "variance_exploding", lambda sigma: sigma, 1.0)
    >>> noise_free.score(torch.ones(1, 2), torch.tensor(0.5)).tolist()
    [[-4.0, -4.0]]
    """

    def __init__(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        shape: tuple[int, ...],
        prediction: str,
        convention: str,
        clock: Callable[[Tensor], Tensor],
        data_scale: float,
    ) -> None:
        super().__init__()
        if convention not in _CONVENTIONS:
            raise UsageError(f"convention is {convention!r}; expected {', '.join(_CONVENTIONS)}")
        noise.denoised(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(()), torch.ones(()), prediction)
        self.network, self.prediction, self.clock = network, prediction, clock
        self.levels = _CONVENTIONS[convention]
        self.shape, self.data_scale = tuple(shape), data_scale

    def forward(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """D(x, σ)."""
        each = sigma.expand(len(x))
        scale, level = self.levels(each)
        seen = scale.view(-1, *[1] * (x.ndim - 1)) * x
        return noise.denoised(self.network(seen, self.clock(each)), seen, scale, level, self.prediction)

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return noise.score_of(self(x, sigma), x, sigma.expand(len(x)))
