"""Tuning by groups of completions as the training loop sees it."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import discrete
from tenfold.data.token_rows import TokenRows
from tenfold.discrete_diffusion.groups import group_weights, signed_loss
from tenfold.discrete_diffusion.matching import check_frozen
from tenfold.discrete_diffusion.samplers.chain import noise, run_chain
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.random import KeyedRandom
from tenfold.discrete_diffusion.steering import Pooled, SteeringRecipe
from tenfold.errors import UsageError
from tenfold.update import Update


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
        completions = self._complete(batch["tokens"], index, draws)
        rewards = self.reward(completions).view(-1, settings.group)
        weights = group_weights(rewards, settings.policy, settings.reference)
        self.skipped += int((~weights.useful).sum())
        for number in range(settings.inner):
            log_p, outputs = self._log_likelihood(modules["model"], completions, index, draws, number)
            loss, metrics = signed_loss(log_p.view(-1, settings.group), weights, settings.clip)
            metrics |= {"reward": rewards.mean(), "skipped_groups": torch.tensor(float(self.skipped))}
            free = completions.shape[1] - settings.prompt
            yield Update("model", loss.mean() / free, metrics, {"log_probs": outputs})

    def _complete(self, rows: Tensor, index: Tensor, draws: Any) -> Int[Tensor, "g n"]:
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
        options, training = ChainOptions(steps=settings.chain_steps), self.model.training
        self.model.eval()
        start = noise(self._source, given, prompt, random)
        tokens = run_chain(policy, self.model.schedule, start, options, random, prompt).tokens
        self.model.train(training)
        return tokens

    def _log_likelihood(
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
