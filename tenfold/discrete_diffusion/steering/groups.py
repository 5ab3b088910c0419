"""Tuning by groups of completions as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.masking import reveal_probability
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.networks.model import DenoisingNetwork, DiscreteDiffusion
from tenfold.discrete_diffusion.options import ChainOptions
from tenfold.discrete_diffusion.samplers.chain import noise
from tenfold.discrete_diffusion.samplers.prediction import KeyedRandom, Predictor, Random
from tenfold.discrete_diffusion.samplers.steps import grid, interval
from tenfold.discrete_diffusion.steering.recipes import GroupRecipe
from tenfold.discrete_diffusion.steering.tuned import TuningTask
from tenfold.errors import UsageError
from tenfold.rl.reference import check_frozen
from tenfold.rl.rewards import group_weights, prediction_likelihood, signed_loss, stepwise_loss
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update


class PolicyMixture(nn.Module):
    """log p ∝ λ log p_one + β log p_other at masks, λ + β = 1: what groups are drawn from."""

    def __init__(self, one: DiscreteDiffusion, other: DiscreteDiffusion, share: float) -> None:
        super().__init__()
        self.one, self.other, self.share = one, other, share
        self.source, self.view, self.time_conditioned = one.source, one.view, one.time_conditioned

    def forward(
        self, noisy: Int[Tensor, "b n"], time: Float[Tensor, " b"] | None, rows: Tensor
    ) -> Float[Tensor, "k v"]:
        """Log-probabilities of the chosen rows."""
        both = self.share * self.one(noisy, time, rows) + (1 - self.share) * self.other(noisy, time, rows)
        return both.log_softmax(-1)


class Completions(NamedTuple):
    """Completed texts, and of the steps of their chains what was noisy and what was predicted of it."""

    tokens: Int[Tensor, "b n"]
    noisy: Int[Tensor, "s b n"]
    predicted: Int[Tensor, "s b n"]


@torch.no_grad()
def predicted_chain(
    network: DenoisingNetwork, schedule: Schedule, noisy: Int[Tensor, "b n"], steps: int, random: Random
) -> Completions:
    """The ancestral chain of a mask source, each step as a whole prediction of which some masks are kept."""
    predict, before, predicted = Predictor(network, schedule, ChainOptions(steps=steps)), [], []
    for t, s in pairwise(grid(steps)):
        at = torch.full((len(noisy),), t, dtype=torch.float64, device=noisy.device)
        step = interval(schedule, at, torch.full_like(at, s))
        before.append(noisy)
        predicted.append(random.tokens(predict(noisy, at).exp()))
        kept = random(*noisy.shape, device=noisy.device) < reveal_probability(step.alpha_next, step.alpha)[:, None]
        noisy = torch.where(kept & predict.source.active(noisy), predicted[-1], noisy)
    return Completions(noisy, torch.stack(before), torch.stack(predicted))


class GroupTask(TuningTask):
    """Every step completes each prompt G times by the model as it is, and learns with the signs of the rewards (wd1,
    arXiv 2507.08838)."""

    def __init__(self, recipe: GroupRecipe, name: str = "") -> None:
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
        return self.corpus.splits.train

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
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

    def _complete(self, rows: Int[Tensor, "b n"], index: Int[Tensor, " b"], draws: Draws) -> Completions:
        """G completions of each row's prompt, keyed by the sample."""
        settings = self.recipe.objective
        given = rows.repeat_interleave(settings.group, 0)
        prompt = (torch.arange(rows.shape[1], device=rows.device) < settings.prompt).expand_as(given)
        each = torch.arange(settings.group, device=index.device)
        random = KeyedRandom(draws, (index[:, None] * settings.group + each).flatten())
        policy: DenoisingNetwork = self.model
        if settings.reference:
            share = settings.policy / (settings.policy + settings.reference)
            policy = PolicyMixture(self.model, self.reference.to(rows.device), share)
        training = self.model.training
        self.model.eval()
        start = noise(self.masks.source, given, prompt, random)
        drawn = predicted_chain(policy, self.masks.schedule, start, settings.chain_steps, random)
        self.model.train(training)
        return drawn

    def _of_predictions(
        self, network: nn.Module, drawn: Completions, index: Int[Tensor, " b"], draws: Draws, number: int
    ) -> tuple[Float[Tensor, "g s"], Tensor]:
        """log p_θ of what each completion was predicted to be, at some steps of its chain."""
        settings = self.recipe.objective
        numbers = draws.uniform(f"steps-{number}", index, (settings.noises,))
        steps = (numbers * settings.chain_steps).long().repeat_interleave(settings.group, 0)
        which = torch.arange(len(steps), device=steps.device)[:, None]
        noisy, predicted = (x[steps, which].flatten(0, 1) for x in (drawn.noisy, drawn.predicted))
        hidden = self.masks.source.active(noisy)
        log_probs = self.masks.predict(network, noisy, hidden)
        return prediction_likelihood(log_probs, predicted, hidden).view(steps.shape), log_probs.detach().exp().sum(-1)

    def _of_completions(
        self, network: nn.Module, completions: Int[Tensor, "g n"], index: Int[Tensor, " b"], draws: Draws, number: int
    ) -> tuple[Float[Tensor, " g"], Tensor]:
        """The bound on log p_θ of each completion given its prompt, by a few patterns of masks."""
        settings, total = self.recipe.objective, torch.zeros(len(completions), device=completions.device)
        for k in range(settings.noises):
            places = self.masks.places(index, completions.shape[1], draws, f"masks-{number}-{k}", settings.prompt)
            hidden, weight = (x.repeat_interleave(settings.group, 0) for x in places)
            log_probs = self.masks.predict(network, self.masks.put(completions, hidden), hidden, masks_only=True)
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
