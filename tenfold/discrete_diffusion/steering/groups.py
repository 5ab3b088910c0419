"""Tuning by groups of completions as the training loop sees it."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import discrete
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete import Schedule
from tenfold.discrete_diffusion.samplers.chain import noise
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.prediction import Predictor
from tenfold.discrete_diffusion.samplers.random import KeyedRandom, Random
from tenfold.discrete_diffusion.samplers.steps import grid, interval
from tenfold.discrete_diffusion.steering.matching import check_frozen
from tenfold.discrete_diffusion.steering.tasks import Pooled, SteeringRecipe
from tenfold.errors import UsageError
from tenfold.rl.groups import group_weights, prediction_likelihood, signed_loss, stepwise_loss
from tenfold.training.task import Update


class Mixture(nn.Module):
    """log p ∝ λ log p_one + β log p_other at masks, λ + β = 1: what groups are drawn from."""

    def __init__(self, one: Any, other: Any, share: float) -> None:
        super().__init__()
        self.one, self.other, self.share = one, other, share
        self.source, self.view, self.time_conditioned = one.source, one.view, one.time_conditioned

    def forward(self, noisy: Tensor, time: Tensor | None, rows: Tensor) -> Tensor:
        """Log-probabilities (k, V) of the chosen rows."""
        both = self.share * self.one(noisy, time, rows) + (1 - self.share) * self.other(noisy, time, rows)
        return both.log_softmax(-1)


class Drawn(NamedTuple):
    """Completions, and of the steps of their chains what was noisy and what was predicted of it."""

    tokens: Int[Tensor, "b n"]
    noisy: Int[Tensor, "s b n"]
    predicted: Int[Tensor, "s b n"]


@torch.no_grad()
def predicted_chain(
    network: nn.Module, schedule: Schedule, noisy: Int[Tensor, "b n"], steps: int, random: Random
) -> Drawn:
    """The ancestral chain of a mask source, each step as a whole prediction of which some masks are kept."""
    predict, before, predicted = Predictor(network, schedule, ChainOptions(steps=steps)), [], []
    for t, s in pairwise(grid(steps)):
        at = torch.full((len(noisy),), t, dtype=torch.float64, device=noisy.device)
        step = interval(schedule, at, torch.full_like(at, s))
        before.append(noisy)
        predicted.append(random.tokens(predict(noisy, at).exp()))
        kept = (
            random(*noisy.shape, device=noisy.device)
            < discrete.reveal_probability(step.alpha_next, step.alpha)[:, None]
        )
        noisy = torch.where(kept & predict.source.active(noisy), predicted[-1], noisy)
    return Drawn(noisy, torch.stack(before), torch.stack(predicted))


class GroupTask(Pooled):
    """Every step completes each prompt G times by the model as it is, and learns with the signs of the rewards."""

    def __init__(self, recipe: SteeringRecipe, name: str = "discrete-groups") -> None:
        super().__init__(recipe, name)
        if recipe.objective.prompt >= recipe.data.length:
            raise UsageError(
                f"objective.prompt is {recipe.objective.prompt}, but rows have {recipe.data.length} characters; leave "
                "some to be completed"
            )
        self.skipped = 0

    def train_source(self) -> TokenRows:
        """Rows of the training blocks, of which the beginnings are the prompts."""
        check_frozen(self.reference, self.model)
        return self.data.train

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """``inner`` updates on one group a prompt."""
        settings, index = self.recipe.objective, batch["index"]
        drawn = self._complete(batch["tokens"], index, draws)
        rewards = self.reward(drawn.tokens).view(-1, settings.group)
        weights = group_weights(rewards, settings.policy, settings.reference)
        self.skipped += int((~weights.useful).sum())
        for number in range(settings.inner):
            if settings.form == "predictions":
                log_p, outputs = self._of_predictions(modules["model"], drawn, index, draws, number)
                loss, metrics = stepwise_loss(log_p.unflatten(0, (-1, settings.group)), weights, settings.clip)
            else:
                log_p, outputs = self._of_completions(modules["model"], drawn.tokens, index, draws, number)
                loss, metrics = signed_loss(log_p.view(-1, settings.group), weights, settings.clip)
            metrics |= {"reward": rewards.mean(), "skipped_groups": torch.tensor(float(self.skipped))}
            free = drawn.tokens.shape[1] - settings.prompt
            yield Update("model", loss.mean() / free, metrics, {"log_probs": outputs})

    def _complete(self, rows: Tensor, index: Tensor, draws: Any) -> Drawn:
        """G completions of each row's prompt, keyed by the sample."""
        settings = self.recipe.objective
        given = rows.repeat_interleave(settings.group, 0)
        prompt = (torch.arange(rows.shape[1], device=rows.device) < settings.prompt).expand_as(given)
        each = torch.arange(settings.group, device=index.device)
        random = KeyedRandom(draws, (index[:, None] * settings.group + each).flatten())
        policy: nn.Module = self.model
        if settings.reference:
            share = settings.policy / (settings.policy + settings.reference)
            policy = Mixture(self.model, self._at(self.reference, rows.device), share)
        training = self.model.training
        self.model.eval()
        start = noise(self._source, given, prompt, random)
        drawn = predicted_chain(policy, self.model.schedule, start, settings.chain_steps, random)
        self.model.train(training)
        return drawn

    def _of_predictions(
        self, module: nn.Module, drawn: Drawn, index: Tensor, draws: Any, number: int
    ) -> tuple[Float[Tensor, "g s"], Tensor]:
        """log p_θ of what each completion was predicted to be, at some steps of its chain."""
        settings, source = self.recipe.objective, self._source
        numbers = draws.uniform(f"steps-{number}", index, (settings.noises,))
        steps = (numbers * settings.chain_steps).long().repeat_interleave(settings.group, 0)
        which = torch.arange(len(steps), device=steps.device)[:, None]
        noisy, predicted = (x[steps, which].flatten(0, 1) for x in (drawn.noisy, drawn.predicted))
        masked = source.active(noisy)
        time = self._time(noisy.shape[1] / masked.sum(1).clamp(min=1))
        log_probs = module(noisy, time)
        return prediction_likelihood(log_probs, predicted, masked).view(steps.shape), log_probs.detach().exp().sum(-1)

    def _of_completions(
        self, module: nn.Module, completions: Tensor, index: Tensor, draws: Any, number: int
    ) -> tuple[Float[Tensor, " g"], Tensor]:
        """The bound on log p_θ of each completion given its prompt, by a few patterns of masks."""
        settings, (rows, n) = self.recipe.objective, completions.shape
        size = n - settings.prompt
        free = (torch.arange(n, device=index.device) >= settings.prompt).expand(len(index), -1)
        total = torch.zeros(rows, device=completions.device)
        for k in range(settings.noises):
            purpose = f"masks-{number}-{k}"
            offset = draws.uniform(f"{purpose}-offset", torch.zeros_like(index[:1]))
            places = discrete.stratified(offset, index, self.recipe.train.batch_size)
            count = (1 + (places * size).long()).clamp(max=size)
            hidden = discrete.mask_exactly(free, count, draws.uniform(purpose, index, (n,)))
            hidden, weight = (x.repeat_interleave(settings.group, 0) for x in (hidden, size / count))
            noisy = torch.where(hidden, self._source.mask, completions)
            log_probs = module(noisy, self._time(n / hidden.sum(1)), hidden)
            found = log_probs.gather(-1, completions[hidden][:, None])[:, 0]
            which, _ = hidden.nonzero(as_tuple=True)
            total = total.index_add(0, which, weight[which] * found)
        return total / settings.noises, log_probs.detach()

    def state_dict(self) -> dict[str, Any]:
        """The groups that had nothing to say."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore their number."""
        self.skipped = int(state["skipped"])
