"""Small systems for the tests of the foundation: a regression, an adversarial pair, a replay buffer."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder
from tenfold.training.config import TrainingConfig
from tenfold.training.loop import TrainingResult, train
from tenfold.training.streams import Draws, numpy_generator
from tenfold.training.task import Update

TRUTH = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def configuration(**changes: Any) -> TrainingConfig:
    """A short run without a tracker."""
    values = {
        "steps": 12,
        "batch_size": 8,
        "warmup_steps": 3,
        "learning_rate": 1e-2,
        "ema": 0.9,
        "log_every": 4,
        "validate_every": 5,
        "checkpoint_every": 4,
        "tracker": "none",
    }
    return TrainingConfig(**{**values, **changes})


class Table:
    """A map-style source: x (N, 4) and y (N, 4), a fixed linear function of x and a little noise."""

    def __init__(self, size: int, name: str = "train") -> None:
        generator = numpy_generator("toy", name)
        self.x = generator.standard_normal((size, 4)).astype(np.float32)
        self.y = self.x @ TRUTH + 0.1 * generator.standard_normal((size, 4)).astype(np.float32)
        self.fingerprint = f"toy-{name}-{size}"

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        return {
            "x": torch.from_numpy(self.x[indices]),
            "y": torch.from_numpy(self.y[indices]),
            "row": torch.from_numpy(indices.copy()),
        }


class Tape:
    """A stream of records (lane, position) whose values derive from both."""

    def __init__(self, lanes: int = 4, block: int = 6) -> None:
        self.lanes, self.block = lanes, block
        self.fingerprint = f"tape-{lanes}-{block}"
        self.opened: set[int] = set()
        self.decoded = 0

    def read(self, lane: int, start: int) -> Iterator[tuple[int, int]]:
        self.opened.add(lane)
        position = start
        while True:
            yield lane, position
            position += 1

    def collate(self, records: list[Any]) -> dict[str, Tensor]:
        self.decoded += len(records)
        x = np.stack([numpy_generator("tape", *r).standard_normal(4).astype(np.float32) for r in records])
        return {"x": torch.from_numpy(x), "y": torch.from_numpy(x @ TRUTH), "record": torch.tensor(records)}


class Net(nn.Module):
    """An MLP whose forward is the training computation: squared errors (B,) and outputs (B, 4)."""

    def __init__(self, width: int = 12, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.ModuleList([nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 4)])
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.linspace(0, 1, 3), persistent=False)

    @property
    def shard_units(self) -> list[nn.Module]:
        return list(self.layers)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.calls += 1
        for layer in self.layers[:-1]:
            x = layer(x).tanh()
        out = self.layers[-1](x)
        return (out - y).square().mean(dim=1), out


class Regression:
    """One loss and noise keyed by the sample. ``at`` maps a step to what is called there (a signal, say)."""

    def __init__(
        self,
        config: TrainingConfig,
        train: Any = None,
        validation: Any = None,
        width: int = 12,
        poison: int = -1,
        at: Mapping[int, Any] | None = None,
    ) -> None:
        self.config, self.poison, self.at = config, poison, dict(at or {})
        self.net = Net(width)
        self.train = Table(50) if train is None else train
        self.validation = validation
        self.indices: list[list[int]] = []
        self.wrapped: Mapping[str, nn.Module] = {}

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, Optimizer]:
        self.wrapped = modules
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return {"adamw": torch.optim.AdamW(modules["net"].parameters(), lr=rate, weight_decay=decay)}

    def train_source(self) -> Any:
        return self.train

    def validation_source(self) -> Any:
        return self.validation

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        if draws.step in self.at:
            self.at[draws.step]()
        self.indices.append(batch["index"].tolist())
        noise = draws.normal("noise", batch["index"], (4,))
        errors, out = modules["net"](batch["x"] + 0.1 * noise, batch["y"])
        if draws.step == self.poison:
            out = out * float("nan")
            errors = errors + out.sum(dim=1)
        check = {"block 0": errors.detach() * 0 if self.poison < 0 else torch.ones(1), "block 3": out}
        yield Update("adamw", errors.mean(), {"out": out.detach().abs().mean()}, check)

    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Tensor]:
        noise = draws.normal("noise", batch["index"], (4,))
        errors = modules["net"](batch["x"] + 0.1 * noise, batch["y"])[0]
        return {"loss": errors, "half": errors / 2}

    def export(self, folder: Path) -> None:
        tensors = {
            f"{name}.{key}": tensor.cpu().contiguous()
            for name, module in self.modules().items()
            for key, tensor in module.state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "toy"}))

    def evaluate(self) -> list[Measurement]:
        return []

    def figures(self, directory: Path) -> list[Path]:
        return []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert state == {}


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 4)])

    @property
    def shard_units(self) -> list[nn.Module]:
        return list(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers[1](self.layers[0](x).tanh()).mean(dim=1)
        return out


class Adversarial(Regression):
    """A generator (the net's outputs) against a critic, each with its own optimiser and learning rate."""

    def __init__(self, config: TrainingConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.critic = Critic()

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.net, "critic": self.critic}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, Optimizer]:
        self.wrapped = modules
        return {
            "generator": torch.optim.AdamW(modules["net"].parameters(), lr=1e-3),
            "critic": torch.optim.SGD(modules["critic"].parameters(), lr=1e-2, momentum=0.9),
        }

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        self.indices.append(batch["index"].tolist())
        noise = draws.normal("noise", batch["index"], (4,))
        with torch.no_grad():
            fake = modules["net"](noise, batch["y"])[1]
        real = modules["critic"](batch["y"])
        yield Update("critic", (modules["critic"](fake) - real).tanh().mean())
        fake = modules["net"](noise, batch["y"])[1]
        yield Update("generator", -modules["critic"](fake).mean(), {"fake": fake.detach().mean()})


class Replay(Regression):
    """Trains on its own past outputs: a buffer, a cursor and a history that a resume must bring back."""

    def __init__(self, config: TrainingConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.buffer = torch.zeros(16, 4)
        self.history: dict[str, Any] = {"cursor": 0, "means": []}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        if draws.step in self.at:
            self.at[draws.step]()
        pick = draws.integers("pick", batch["index"], len(self.buffer))
        errors, out = modules["net"](batch["x"] + self.buffer[pick], batch["y"])
        yield Update("adamw", errors.mean())
        rows = (self.history["cursor"] + torch.arange(len(out))) % len(self.buffer)
        self.buffer[rows] = out.detach()
        self.history["cursor"] += len(out)
        self.history["means"] = [*self.history["means"][-3:], float(out.detach().mean())]

    def state_dict(self) -> dict[str, Any]:
        return {"buffer": self.buffer, "history": self.history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.buffer = state["buffer"]
        self.history = dict(state["history"])


def run(folder: Path, task: Any, **options: Any) -> TrainingResult:
    """Train a task quietly."""
    return train(task, task.config, RunFolder(folder), show=False, **options)


def _weights_file(folder: Path) -> Path:
    (found,) = (folder / "model").glob("*.safetensors")
    return found


def weights(folder: Path) -> dict[str, Tensor]:
    """The exported weights of a run."""
    return load_file(_weights_file(folder))


def digest(folder: Path) -> str:
    """SHA-256 over the exported model file and over every tensor (optimisers, averages, task) of the last
    checkpoint; of the latter the values, as safetensors orders its header's metadata at random."""
    last = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    found = hashlib.sha256(_weights_file(folder).read_bytes())
    shards = sorted(last.glob("*.safetensors"))
    assert shards
    for shard in shards:
        for name, tensor in sorted(load_file(shard).items()):
            found.update(f"{shard.name} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The largest absolute difference of two sets of weights with the same names."""
    assert set(a) == set(b)
    assert a
    return max(float((a[name].detach().double() - b[name].detach().double()).abs().max()) for name in a)
