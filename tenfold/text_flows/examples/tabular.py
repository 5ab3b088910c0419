"""Densities of tables by stacks of masked mixture maps, beside flows of the zuko library: equal time of one processor
each, chosen by validation, measured on rows that none has seen."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.text_flows.bijectors.mixture import MixtureCDF
from tenfold.text_flows.examples.tables import TABLES, table
from tenfold.text_flows.networks.channels import MaskedChannels
from tenfold.training.streams import Draws

_BATCH, _RATE, _EVERY, _CLIP = 256, 3e-3, 20, 5.0
_HIDDEN = 64
LogProb = Callable[[Tensor], Tensor]


class MaskedMixtures(nn.Module):
    """A masked autoregressive flow (MAF, arXiv:1705.07057) whose maps are mixtures of K Gaussians on the line; each
    layer reads the columns in the order opposite to that of the one before.

    >>> MaskedMixtures(3, 2, 4)(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, dimensions: int, layers: int, components: int, hidden: int = _HIDDEN) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MaskedChannels(dimensions, 0, hidden, components, place > 0) for place in range(layers)
        )

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log p(x), nats."""
        total = x.new_zeros(len(x))
        for layer in self.layers[:-1]:
            x, logdet = self._map(layer, x).forward(x)
            total, x = total + logdet.sum(1), x.flip(1)
        # Of the last layer the map is not needed, only its mixture's density.
        return total + self._map(self.layers[-1], x).log_prob(x).sum(1)

    @staticmethod
    def _map(layer: nn.Module, x: Tensor) -> MixtureCDF:
        logits, mean, log_scale = layer(x.new_zeros(len(x), 0), x).chunk(3, -1)
        return MixtureCDF(logits, mean, log_scale.clamp(-7, 7).exp())


def models(dimensions: int) -> dict[str, Callable[[], nn.Module]]:
    """What is compared, by name. Raises UsageError where zuko is missing."""
    try:
        import zuko
    except ImportError:
        raise UsageError(
            "the other flows are zuko's, which is missing; run: pip install 'tenfold[baselines]'"
        ) from None
    wide = {"hidden_features": (_HIDDEN, _HIDDEN)}
    return {
        "affine, 3 layers": lambda: MaskedMixtures(dimensions, 3, 1),
        "mixtures, 1 layer": lambda: MaskedMixtures(dimensions, 1, 8),
        "mixtures, 3 layers": lambda: MaskedMixtures(dimensions, 3, 8),
        "zuko spline": lambda: zuko.flows.NSF(dimensions, transforms=3, bins=8, **wide),
        "zuko Gaussianization": lambda: zuko.flows.GF(dimensions, transforms=3, components=8, **wide),
    }


def log_prob_of(model: nn.Module) -> LogProb:
    """log p(x) of either kind of model."""
    return model if isinstance(model, MaskedMixtures) else lambda x: model().log_prob(x)


@torch.enable_grad()
def fit(
    model: nn.Module,
    train: Tensor,
    validation: Tensor,
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.process_time,
) -> int:
    """Adam on −log p for ``seconds`` of processor time (or of another ``clock``), validation included; the weights
    that did best on the validation rows are kept. The number of steps.

    A rate that falls with the time that is left needs no schedule in steps, which no two models do equally many of."""
    log_prob, optimizer = log_prob_of(model), torch.optim.Adam(model.parameters(), _RATE)
    best, step, began = math.inf, 0, clock()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    index = torch.arange(min(_BATCH, len(train)))
    while (spent := clock() - began) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * spent / seconds))
        rows = train[Draws(seed, step).integers("row", index, len(train))]
        optimizer.zero_grad()
        (-log_prob(rows).mean()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        step += 1
        if step % _EVERY == 0:
            with torch.no_grad():
                value = float(-log_prob(validation).mean())
            if value < best:
                best, kept = value, {name: each.clone() for name, each in model.state_dict().items()}
    model.load_state_dict(kept)
    return step


def tabular_flows(figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None) -> Outcome:
    """The example "tabular-flows": log p of held-out rows, nats a row, of each model on each table; means over seeds,
    which draw the split, the first weights and the batches."""
    seconds, seeds, most = (0.02, 2, 200) if quick else (8.0, 3, 20_000)
    rows, done = [], 0
    for name in TABLES:
        found: dict[str, list[float]] = {}
        steps: dict[str, list[int]] = {}
        for seed in range(seeds):
            data = table(name, seed, most)
            made = models(data.train.shape[1])
            for kind, make in made.items():
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    model = make()
                steps.setdefault(kind, []).append(fit(model, data.train, data.validation, seconds, seed))
                with torch.no_grad():
                    found.setdefault(kind, []).append(float(log_prob_of(model)(data.test).mean()))
                done += 1
                progress(done / (len(TABLES) * seeds * len(made)))
        size = f"{len(data.train):,} rows of {data.train.shape[1]} columns"
        for kind, values in found.items():
            error = statistics.stdev(values) / math.sqrt(seeds)
            note = f"{size}; {seconds:g} s, {statistics.mean(steps[kind]):.0f} steps; {seeds} seeds"
            what = f"log_prob_{name.replace(' ', '_')}"
            rows.append(Measurement(what, statistics.mean(values), "nats/row", "test", kind, error, None, note))
    return Outcome(rows, {}, {"seconds": seconds, "seeds": seeds}, {})
