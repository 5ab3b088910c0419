"""The toy's task."""

from pathlib import Path

import numpy as np
import torch
from tenfold.toy.model import Line
from torch import nn

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.figures import histograms, write_captions
from tenfold.files import write_output
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.scores import Scores
from tenfold.training.optimizers import adamw
from tenfold.training.task import Metric, Update


class Points:
    """Points on a line."""

    def __init__(self, count: int, inputs: int, seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(count, inputs)).astype(np.float32)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(x.sum(1) + 1)
        self.fingerprint = f"points-{count}-{inputs}-{seed}"

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices):
        """Some of them."""
        return {"x": self.x[indices], "y": self.y[indices]}


class LineTask:
    """Least squares; the checkpoint with the largest share of points that are near is chosen."""

    metric = Metric("near", larger_is_better=True)

    def __init__(self, recipe, name) -> None:
        self.recipe, self.name = recipe, name
        torch.manual_seed(recipe.train.seed)
        self.model = Line(recipe.model)

    def modules(self) -> dict[str, nn.Module]:
        """The line."""
        return {"line": self.model}

    def optimizers(self, modules):
        """AdamW."""
        return {"line": adamw(modules["line"].parameters(), self.recipe.train)}

    def train_source(self) -> Points:
        """Training points."""
        return Points(self.recipe.data.count, self.recipe.model.inputs, 0)

    def validation_source(self) -> Points:
        """Others."""
        return Points(8, self.recipe.model.inputs, 1)

    def step(self, modules, batch, draws):
        """One update."""
        yield Update("line", (modules["line"](batch["x"]) - batch["y"]).square().mean())

    def validate(self, modules, batch, draws):
        """Whether each point is near."""
        away = (modules["line"](batch["x"]) - batch["y"]).abs()
        return {"near": torch.exp(-away)}

    def state_dict(self):
        """Nothing."""
        return {}

    def load_state_dict(self, state) -> None:
        """Nothing."""

    def export(self, folder: Path) -> None:
        """A model folder."""
        hub.save_pretrained(self.model, folder, {"name": self.name})

    def load(self, folder) -> None:
        """Take its weights."""
        self.model = hub.from_pretrained(Line, folder)

    def to(self, device, dtype=None) -> None:
        """Move the line."""
        self.model.to(device=device, dtype=dtype)

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """The bias."""
        points = Points(self.recipe.evaluation.points, self.recipe.model.inputs, 2)
        error = float((self.model(points.x) - points.y).square().mean())
        return [Measurement("squared_error", error, split="test", model=self.name)]

    def figures(self, directory: Path) -> list[Path]:
        """A histogram."""
        directory.mkdir(parents=True, exist_ok=True)
        picture = histograms({"weights": self.model.layer.weight.detach()}, directory / "weights.png", "weight")
        write_captions(directory, {"weights.png": "the weights"})
        return [picture]

    def sample(self, options, folder: Path) -> list[Path]:
        """Numbers."""
        end = "!" if options.shout else ""
        write_output(folder / "samples.txt", "".join(f"{i}{end}\n" for i in range(options.num)))
        return [folder / "samples.txt"]

    def score(self, options, source, picture=None) -> Scores:
        """The lengths of lines."""
        lines = Path(source).read_text().splitlines() if isinstance(source, str | Path) else list(source)
        return Scores.ranked(self.name, lines, {"log_prob": ("nats", [-float(len(line)) for line in lines])}, "lengths")

    def analyse(self, options, figures: Path) -> Outcome:
        """The bias again."""
        return Outcome([Measurement("depth", options.depth, model=self.name)], {}, data={"depth": options.depth})

    def greet(self, options, inputs, figures: Path) -> Outcome:
        """A greeting to each line."""
        if not Path(inputs).is_file():
            raise UsageError(f"{inputs} does not exist; give a file of names")
        said = [f"{options.word} {name}" for name in Path(inputs).read_text().splitlines()]
        return Outcome([Measurement("greeted", len(said), model=self.name)], {}, data={"said": said})

    @staticmethod
    def describe(recipe):
        """Parameters."""
        return {"parameters": recipe.model.inputs + 1}


def read_published(checkpoint: str, inputs: int = 2) -> Line:
    """A line from a state dict.

    Args:
        inputs: numbers that are read.
    """
    from tenfold.toy.config import LineConfig

    line = Line(LineConfig(inputs))
    hub.load_strict(line, hub.read_state_dict(checkpoint), checkpoint)
    return line
