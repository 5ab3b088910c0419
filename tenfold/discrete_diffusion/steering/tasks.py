"""Post-training as the training loop sees it: rewards, preferences, an autoregressive teacher."""

import math
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from tenfold import discrete
from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.objectives import cross_entropy, distribution_form
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, schedule_of, source_of
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.steering.matching import check_frozen, drift, matching_loss, restricted
from tenfold.discrete_diffusion.steering.rewards import reward_of
from tenfold.discrete_diffusion.targets.autoregressive import ARTeacher, Work
from tenfold.discrete_diffusion.targets.network import NetworkTeacher
from tenfold.discrete_diffusion.targets.protocol import all_candidates, choose_sites, shared_sites, site_target
from tenfold.discrete_diffusion.targets.tilt import Reference, RewardTilt
from tenfold.discrete_diffusion.task import DiffusionTask, TextTask, read_autoregressive, read_diffusion
from tenfold.errors import UsageError
from tenfold.rl.pool import Tilt, tilt_within
from tenfold.rl.preferences import gain, preference_loss
from tenfold.runs.measurement import Measurement
from tenfold.training.task import Update


@runtime_checkable
class SteeringRecipe(Protocol):
    """What a recipe must hold; ``objective`` is that of the task, ``train`` has the optimiser's fields."""

    model: DiffusionConfig
    data: CharacterDataConfig
    objective: Any
    evaluation: Any
    train: Any


class PostTraining(DiffusionTask):
    """A masked model that is trained further; ``objective.start`` is where from."""

    def __init__(self, recipe: SteeringRecipe, name: str) -> None:
        TextTask.__init__(self, recipe, name)
        if recipe.model.source != "mask" or recipe.model.output != "probabilities":
            raise UsageError("post-training is for masked models of probabilities; set --model.source mask")

    @cached_property
    def model(self) -> DiscreteDiffusion:
        """The network: what training starts from, or what ``load`` read."""
        if not self.recipe.objective.start:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.recipe.train.seed)
                return DiscreteDiffusion(self.recipe.model)
        return self._read_start().train()

    @cached_property
    def reference(self) -> DiscreteDiffusion:
        """The model as it was, frozen: weights of its own."""
        return self._read_start().eval().requires_grad_(False)

    def _read_start(self) -> DiscreteDiffusion:
        start = self.recipe.objective.start
        model = read_diffusion(start)
        if model.config != self.recipe.model:
            raise UsageError(
                f"objective.start {start} holds {model.config}, but the recipe's model is {self.recipe.model}"
            )
        return model

    def modules(self) -> dict[str, nn.Module]:
        """The network."""
        return {"model": self.model}

    def _at(self, module: nn.Module, device: torch.device) -> nn.Module:
        """A frozen module where the batch is."""
        return module.to(device)

    def _masked(
        self, clean: Tensor, index: Tensor, draws: Any, purpose: str = "noise"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x_t with l of L masks, l spread over the batch, where the masks are, and L / l."""
        n = clean.shape[1]
        offset = draws.uniform(f"{purpose}-offset", torch.zeros_like(index[:1]))
        places = discrete.stratified(offset, index, self.recipe.train.batch_size)
        count = (1 + (places * n).long()).clamp(max=n)
        whole = torch.ones_like(clean, dtype=torch.bool)
        hidden = discrete.mask_exactly(whole, count, draws.uniform(purpose, index, (n,)))
        return torch.where(hidden, self._source.mask, clean), hidden, n / count

    @property
    def _source(self) -> MaskSource:
        source = source_of(self.recipe.model)
        assert isinstance(source, MaskSource)  # __init__ made sure
        return source

    def _time(self, weight: Tensor) -> Tensor:
        return discrete.time_of(schedule_of(self.recipe.model), 1 - 1 / weight)


class DistilTask(PostTraining):
    """Site targets of an autoregressive teacher in place of single tokens of the data: the same optimum, less noise
    in the gradient."""

    def __init__(self, recipe: SteeringRecipe, name: str = "discrete-distil") -> None:
        super().__init__(recipe, name)
        if recipe.objective.candidates > recipe.model.vocabulary:
            raise UsageError(
                f"objective.candidates is {recipe.objective.candidates}, but the vocabulary has "
                f"{recipe.model.vocabulary} tokens; give at most that"
            )
        self._before = Work()

    @cached_property
    def teacher(self) -> ARTeacher:
        """The frozen teacher."""
        model = read_autoregressive(self.recipe.objective.teacher).requires_grad_(False)
        if model.config.alphabet != self.recipe.model.alphabet:
            raise UsageError(
                f"the teacher reads {model.config.alphabet!r}, the student {self.recipe.model.alphabet!r}; teacher and "
                "student must share one alphabet"
            )
        if model.config.length < self.recipe.data.length:
            raise UsageError(
                f"the teacher reads {model.config.length} characters, fewer than data.length {self.recipe.data.length}"
            )
        return ARTeacher(NetworkTeacher(model), self.recipe.objective.method)

    def train_source(self) -> TokenRows:
        """Rows of the training blocks, and those that the teacher writes."""
        return self._rows

    @cached_property
    def _rows(self) -> TokenRows:
        count, n = self.recipe.objective.samples, self.recipe.data.length
        if not count:
            return self.data.train
        teacher = self.teacher.model
        assert isinstance(teacher, NetworkTeacher)
        drawn = teacher.sample(count, n, self.recipe.train.seed).numpy()
        kept = self.data.train.arrays
        whole = np.ones(drawn.shape, bool)
        more = {"tokens": drawn.astype(kept["tokens"].dtype), "maskable": whole, "real": whole}
        return TokenRows({name: np.concatenate([kept[name], more[name]]) for name in kept})

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update."""
        settings, clean, source = self.recipe.objective, batch["tokens"], self._source
        noisy, hidden, weight = self._masked(clean, batch["index"], draws)
        log_probs = modules["model"](noisy, self._time(weight), hidden)
        whole = log_probs.new_zeros(*clean.shape, log_probs.shape[-1])
        whole[hidden] = log_probs
        own = torch.where(hidden, cross_entropy(whole, clean), 0.0)
        masks = hidden.sum()
        if not settings.sites:
            yield Update("model", own.sum() / masks, {}, {"log_probs": log_probs.detach()})
            return
        self._at(self.teacher.model.model, clean.device)  # type: ignore[attr-defined]
        numbers = draws.uniform("sites", torch.zeros_like(batch["index"][:1]), (clean.shape[1],))[0]
        sites, real, _ = shared_sites(hidden, settings.sites, numbers)
        if settings.candidates:
            candidates = self.teacher.candidates(clean, sites, settings.candidates)
        else:
            candidates = all_candidates(sites, source.vocabulary)
        # What is not masked is not asked for: its only candidate is the token itself.
        candidates = torch.where(real[..., None], candidates, clean.gather(1, sites)[..., None])
        alpha = 1 - 1 / weight
        target = site_target(self.teacher, clean, noisy, alpha, sites, candidates, source, settings.temperature).to(
            whole.dtype
        )
        # Where the teacher spoke, its distribution takes the place of the data's token: the same mean, less noise.
        student = restricted(whole, sites, candidates).masked_fill(target == -torch.inf, -torch.inf)
        spoken = torch.where(real, distribution_form(target, student, "kl"), 0.0)
        change = spoken - own.gather(1, sites)
        metrics = {
            "cross_entropy": own.detach().sum() / masks,
            "from_teacher": spoken.detach().sum() / real.sum().clamp(min=1),
            "teacher_share": real.sum() / masks,
            "teacher_tokens": torch.tensor(float(self.work.tokens)),
            "teacher_calls": torch.tensor(float(self.work.calls)),
        }
        loss = (own.sum() + settings.share * change.sum()) / masks
        yield Update("model", loss, metrics, {"log_probs": log_probs.detach()})

    @property
    def work(self) -> Work:
        """What the teacher did since the run began, on this process."""
        now = self.teacher.work
        return Work(self._before.calls + now.calls, self._before.tokens + now.tokens)

    def state_dict(self) -> dict[str, Any]:
        """The teacher's work."""
        return {"teacher_calls": self.work.calls, "teacher_tokens": self.work.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._before = Work(int(state["teacher_calls"]), int(state["teacher_tokens"]))


class Pooled(PostTraining):
    """Tuning on samples of the reference and a reward of them."""

    @cached_property
    def reward(self) -> Any:
        """R of sequences."""
        return reward_of(self.recipe.objective.reward, self.recipe.data)

    @cached_property
    def pool(self) -> tuple[Tensor, Tensor]:
        """Samples of the reference (pool, n), and their rewards; the same in every process and after a resume."""
        from tenfold.discrete_diffusion.samplers.writing import draw

        settings, seed = self.recipe.objective, self.recipe.train.seed
        check_frozen(self.reference, self.model)
        kind = "ancestral" if self.reference.time_conditioned else "cached"
        options = ChainOptions(kind=kind, steps=settings.pool_steps)  # type: ignore[arg-type]
        found = draw(self.reference, settings.pool, self.recipe.data.length, options, seed)
        return found.tokens, self.reward(found.tokens)

    def validation_source(self) -> None:  # type: ignore[override]
        """None: the bound on data is not what is tuned, so the last checkpoint is kept."""
        return None

    def _drift(self, module: nn.Module, noisy: Tensor, hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p_θ and log p_ref at all sites, and the divergence from the reference of each row, weighted."""
        time = self._time(weight)
        mine = module(noisy, time)
        with torch.no_grad():
            theirs = self._at(self.reference, noisy.device)(noisy, time)
        return mine, theirs, drift(mine, theirs, hidden, weight)

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """Rewards of samples, divergence from the reference, and the bound on test text, of both models."""
        from tenfold.discrete_diffusion.steering.evaluation import measure_steered

        recipe = self.recipe
        return measure_steered(
            self.model, self.reference, self.reward, self.data, recipe.data, recipe.evaluation, self.name
        )


def _rows_of(tokens: Tensor, **more: np.ndarray) -> TokenRows:
    rows = tokens.cpu().numpy().astype(np.int32)
    whole = np.ones(rows.shape, bool)
    return TokenRows({"tokens": rows, "maskable": whole, "real": whole, **more})


class RewardTask(Pooled):
    """Tuning towards p_ref e^{R/β} on reference samples drawn by their weights, with a penalty that keeps the
    divergence within its budget.

    At "sites" the reward says of every token what it would change: little noise, and exact where the reference's tokens
    are independent given x_t. The cross entropy of the samples ("weights") has the tilted law's conditionals as its
    optimum, and learns from whole sequences only."""

    def __init__(self, recipe: SteeringRecipe, name: str = "discrete-reward") -> None:
        super().__init__(recipe, name)
        self.penalty, self.drift = recipe.objective.penalty, 0.0

    @cached_property
    def tilt(self) -> Tilt:
        """The weights of the pool; a warning where few samples carry them."""
        found = tilt_within(self.pool[1], self.recipe.objective.budget)
        if found.size < 2:
            warnings.warn(
                f"the effective sample size of the pool is {found.size:.1f}; raise objective.pool or lower the budget",
                stacklevel=2,
            )
        return found

    def train_source(self) -> TokenRows:
        """The pool, drawn again by its weights, evenly (systematic resampling): as many rows."""
        tokens, _ = self.pool
        places = (torch.arange(len(tokens)) + 0.5) / len(tokens)
        chosen = torch.searchsorted(self.tilt.weights.cumsum(0), places.double()).clamp(max=len(tokens) - 1)
        return _rows_of(tokens[chosen])

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update."""
        clean, budget = batch["tokens"], self.recipe.objective.budget
        noisy, hidden, weight = self._masked(clean, batch["index"], draws)
        log_probs, theirs, away = self._drift(modules["model"], noisy, hidden, weight)
        if self.recipe.objective.form == "sites":
            own = self._at_sites(log_probs, theirs, clean, noisy, hidden, weight, batch["index"], draws)
        else:
            own = cross_entropy(log_probs, clean)[hidden].mean()
        value = float(away.detach().mean())
        self.drift = value if draws.step == 0 else 0.95 * self.drift + 0.05 * value
        # The multiplier of the budget: up while it is exceeded, down while it is not, faster the farther away.
        over = min(1.0, max(-0.5, self.drift / budget - 1))
        self.penalty = min(100.0, max(self.recipe.objective.penalty, self.penalty * math.exp(0.1 * over)))
        metrics = {
            "own": own.detach(),
            "kl": torch.tensor(self.drift),
            "penalty": torch.tensor(self.penalty),
            "effective_samples": torch.tensor(self.tilt.size),
        }
        loss = own + self.penalty * away.mean() / clean.shape[1]
        yield Update("model", loss, metrics, {"log_probs": log_probs.detach().exp().sum(-1)})

    def _at_sites(
        self,
        mine: Tensor,
        theirs: Tensor,
        clean: Tensor,
        noisy: Tensor,
        hidden: Tensor,
        weight: Tensor,
        index: Tensor,
        draws: Any,
    ) -> Tensor:
        """KL from p_ref(x_0^i = y | x_t) e^{R(x_0 with y at i)/β} at some masks, all tokens as candidates."""
        settings, source = self.recipe.objective, self._source
        sites, real, share = choose_sites(hidden, settings.sites, draws.uniform("sites", index, (clean.shape[1],)))
        target = RewardTilt(Reference(lambda noisy: theirs), self.reward, self.tilt.beta)
        candidates = all_candidates(sites, source.vocabulary)
        wanted = site_target(target, clean, noisy, 1 - 1 / weight, sites, candidates, source).to(mine.dtype)
        return matching_loss(mine, wanted, clean, sites, candidates, real, share).sum() / hidden.sum()

    def state_dict(self) -> dict[str, Any]:
        """The multiplier, and the running divergence."""
        return {"penalty": self.penalty, "drift": self.drift}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.penalty, self.drift = float(state["penalty"]), float(state["drift"])

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """As of all tuned models, and what the weights promised."""
        rewards = self.pool[1].double()
        rows = super().evaluate(seconds)
        rows.append(
            Measurement(
                "mean_reward", float(self.tilt.weights @ rewards), "", "pool", "tilted reference", None, len(rewards),
                f"weights e^(R/β), β = {self.tilt.beta:.3g}, KL {self.tilt.kl:.2f} nats, "
                f"effective sample size {self.tilt.size:.0f}",
            )
        )  # fmt: skip
        return rows


class PreferenceTask(Pooled):
    """Tuning on pairs: −log σ(β [Δ_w − Δ_l]), Δ the rise of the bound over the reference's at the same masks."""

    def __init__(self, recipe: SteeringRecipe, name: str = "discrete-preference") -> None:
        super().__init__(recipe, name)

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Winners and losers, (pairs, n): neighbours in the pool, who wins drawn from σ(R_1 − R_2)."""
        tokens, rewards = self.pool
        half = len(tokens) // 2
        generator = torch.Generator().manual_seed(self.recipe.train.seed)
        first = torch.rand(half, generator=generator) < (rewards[:half] - rewards[half : 2 * half]).cpu().sigmoid()
        one, two = tokens[:half], tokens[half : 2 * half]
        winner = torch.where(first[:, None].to(tokens.device), one, two)
        return winner, torch.where(first[:, None].to(tokens.device), two, one)

    def train_source(self) -> TokenRows:
        """Three quarters of the pairs, winner and loser end to end in a row."""
        winner, loser = self.pairs
        return _rows_of(torch.cat([winner, loser], 1)[: 3 * len(winner) // 4])

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update."""
        settings, index = self.recipe.objective, batch["index"]
        winner, loser = batch["tokens"].chunk(2, 1)
        value, metrics, outputs = self._loss(modules["model"], winner, loser, index, draws, settings.noises)
        yield Update("model", value.mean(), metrics, {"log_probs": outputs})

    def _loss(
        self, module: nn.Module, winner: Tensor, loser: Tensor, index: Tensor, draws: Any, noises: int
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        masks, weights = [], []
        for k in range(noises):
            _, hidden, weight = self._masked(winner, index, draws, f"noise-{k}")
            masks.append(hidden)
            weights.append(weight)
        hidden, weight = torch.stack(masks, 1).flatten(0, 1), torch.stack(weights, 1).flatten()
        clean = torch.cat([text.repeat_interleave(noises, 0) for text in (winner, loser)])
        hidden, weight = hidden.repeat(2, 1), weight.repeat(2)
        noisy = torch.where(hidden, self._source.mask, clean)
        time = self._time(weight)
        mine = module(noisy, time)
        with torch.no_grad():
            theirs = self._at(self.reference, noisy.device)(noisy, time)
        # Tokens that stand are certain under both: 0, not −∞ less −∞.
        rise = gain(_finite(mine), _finite(theirs), clean, hidden, weight).view(2, len(winner), noises)
        value, metrics = preference_loss(rise[0], rise[1], self.recipe.objective.beta)
        return value, metrics, mine.detach().exp().sum(-1)

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """As of all tuned models, and how often the held-out winner rose more."""
        from tenfold.training.streams import Draws

        winner, loser = (text[3 * len(text) // 4 :] for text in self.pairs)
        index = torch.arange(len(winner), device=winner.device)
        with torch.no_grad():
            _, metrics, _ = self._loss(self.model, winner, loser, index, Draws(self.recipe.train.seed, 0), 16)
        share, count = float(metrics["accuracy"]), len(winner)
        error = (share * (1 - share) / count) ** 0.5
        row = Measurement(
            "preference_accuracy", share, "", "held-out pairs", self.name, error, count, "16 noises a pair"
        )
        return [*super().evaluate(seconds), row]


def _finite(log_probs: Tensor) -> Tensor:
    return log_probs.clamp(min=-1e4)
