"""Coupled-GRPO as the training loop and the verbs see it (arXiv 2506.20639, section 4.2).

A step is a round: (1) G completions of each prompt, (2) their rewards, (3) advantages in each group, (4) masks for μ
updates, and estimates of the policy as it is and of the reference with them, (5) μ updates of the clipped surrogate."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.masked_lm.convert import read_published
from tenfold.masked_lm.decoding.proposals import filtered
from tenfold.masked_lm.grpo.bounds import sandwich
from tenfold.masked_lm.grpo.estimators import MaskViews, draw_views, estimate
from tenfold.masked_lm.grpo.evaluation import draw_rewards, measure_rewards, rewards_of_prompts
from tenfold.masked_lm.grpo.options import EstimatorAnalysis
from tenfold.masked_lm.grpo.prompts import Problem, PromptRows, PromptSplits, read_prompts, reward_of
from tenfold.masked_lm.grpo.recipes import GrpoRecipe
from tenfold.masked_lm.grpo.reference import ReferencePolicy
from tenfold.masked_lm.grpo.rollouts import Completed, OpenRounds, Round, complete, rewarded
from tenfold.masked_lm.grpo.variance import study_estimators
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.task import MaskedLMTask
from tenfold.nn.cost import traced
from tenfold.rl.policy import advantages, policy_loss, until_end
from tenfold.rl.programs import TextReward
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws, key_of
from tenfold.training.task import Batch, Metric, Update, mean_count


class CoupledGrpoTask(MaskedLMTask):
    """A masked language model tuned by groups of its own completions."""

    recipe: Any
    metric = Metric("reward", larger_is_better=True)

    def __init__(self, recipe: GrpoRecipe, name: str = "masked-grpo") -> None:
        self.recipe, self.name = recipe, name
        self._updates: nn.Module | None = None
        self._place: dict[str, Any] = {}
        self.reference = ReferencePolicy()
        self._rounds = OpenRounds()
        self._rewards: Tensor | None = None  # of test prompts, by the model that was loaded last

    @cached_property
    def model(self) -> MaskedLM:
        """The network: what tuning starts from, or what ``load`` read."""
        start = self.recipe.objective.start
        if not start:
            raise UsageError("objective.start is empty; name the run or model folder of a masked model to tune")
        model = read_published(start)
        if model.config != self.recipe.model:
            raise UsageError(
                f"objective.start {start} holds {model.config}, but the recipe's model is {self.recipe.model}"
            )
        if model.tokenizer is None:
            raise UsageError(f"{start} has no tokenizer, so its completions are no texts that can be rewarded")
        return self._placed(model.float())

    @cached_property
    def prompts(self) -> PromptSplits:
        """The prompts of the three splits."""
        special, tokenizer = self.model.special, self.model.tokenizer
        assert tokenizer is not None
        pad = special.pad if special.pad is not None else special.mask
        return read_prompts(self.recipe.data, tokenizer, pad)

    @cached_property
    def reward(self) -> TextReward:
        """The reward of completions."""
        return reward_of(self.recipe.data)

    # --- training -----------------------------------------------------------------------------------------

    def train_source(self) -> PromptRows:
        """Training prompts."""
        _ = self.reward  # says what is missing, before any work
        return self.prompts.train

    def validation_source(self) -> PromptRows:
        """Held-out prompts."""
        return self.prompts.validation

    def prepare(self, batch: Batch, draws: Draws) -> None:
        """Completions of a batch and their rewards, drawn once in a step by the whole model."""
        self._begun(batch, draws)

    def counts(self, batch: Mapping[str, Tensor], draws: Draws) -> dict[str, Tensor]:
        """Valid tokens of the completions."""
        return {"valid": self._begun(batch, draws).drawn.valid.sum()}

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One round: ``inner`` updates on a group of completions of each prompt, those that are left of it."""
        settings, policy = self.recipe.objective, modules["model"]
        begun = self._begun(batch, draws)
        drawn, rewards = begun.drawn, begun.rewards
        advantage = advantages(rewards, settings.baseline, settings.scaled).flatten()
        views = [self._views(begun, draws, number) for number in range(settings.inner)]
        if settings.estimator == "spg":
            bounds = sandwich(advantage, settings.mixture, settings.power)
            views = [view._replace(sandwich=bounds) for view in views]
        if not begun.updates:
            if settings.beta and not (self.reference.weights and (not settings.sync or draws.step % settings.sync)):
                self.reference.take(policy)
            begun.old = [self._estimated(policy, drawn, view) for view in views] if settings.inner > 1 else []
            begun.reference = self._of_reference(policy, drawn, views)
        about = _about(rewards, drawn)
        for number in range(begun.updates, settings.inner):
            view = views[number]
            with torch.enable_grad():
                now = estimate(policy, drawn.prompts, drawn.completions, view, self._mask, drawn.real)
            old = begun.old[number] if begun.old else now.log_p.detach()
            begun.updates = number + 1  # when the loop looks, the update that this asks for is done
            loss, metrics = policy_loss(
                now.log_p,
                old,
                advantage,
                drawn.valid,
                (settings.clip_low, settings.clip_high),
                settings.beta,
                begun.reference[number] if begun.reference else None,
                mean_count(batch, "valid", drawn.valid.sum()),
            )
            yield Update("model", loss, {**about, **metrics}, {"log_p": now.log_p.detach()})
        self._rounds.end(batch)

    @property
    def _mask(self) -> int:
        return self.model.special.mask

    def _begun(self, batch: Batch, draws: Draws) -> Round:
        return self._rounds.of(batch, draws.step, lambda: self._drawn(batch, draws))

    def _drawn(self, batch: Batch, draws: Draws) -> Round:
        settings = self.recipe.objective
        drawn = complete(
            self.model,
            batch["prompts"],
            batch["real"],
            settings.group,
            settings.generation(self.recipe.data.tokens),
            key_of(draws.seed, "rollouts", draws.step) >> 2,
            batch["index"].tolist(),
            settings.rollout_batch,
        )
        problems = _problems(self.prompts.train, batch)
        return Round(drawn, rewarded(self.model, drawn, problems, settings.group, self.reward), batch["index"])

    def _views(self, begun: Round, draws: Draws, number: int) -> MaskViews:
        """The masks of an update, keyed by the completion."""
        settings, drawn = self.recipe.objective, begun.drawn
        each = torch.arange(settings.group, device=begun.index.device)
        rows = (begun.index[:, None] * settings.group + each).flatten()
        return draw_views(
            settings.estimator,
            drawn.prompts,
            drawn.completions,
            lambda purpose, shape: draws.uniform(f"{purpose} {number}", rows, shape),
            settings.pairs,
            settings.least_time,
            settings.stratified,
            settings.normalised,
        )

    @torch.no_grad()
    def _estimated(self, policy: nn.Module, drawn: Completed, views: MaskViews) -> Tensor:
        return estimate(policy, drawn.prompts, drawn.completions, views, self._mask, drawn.real).log_p

    def _of_reference(self, policy: nn.Module, drawn: Completed, views: list[MaskViews]) -> list[Tensor]:
        if not self.recipe.objective.beta:
            return []
        with torch.no_grad(), self.reference.in_place(policy):
            return [self._estimated(policy, drawn, view) for view in views]

    @torch.no_grad()
    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Tensor]:
        """Per prompt: "reward", the mean of a group of completions."""
        settings = self.recipe.objective
        options = settings.generation(self.recipe.data.tokens)
        seed = key_of(draws.seed, "validation") >> 2
        index = batch["index"].tolist()
        given = batch["prompts"], batch["real"], settings.group, options, seed, index, settings.rollout_batch
        drawn = complete(self.model, *given)
        problems = _problems(self.prompts.validation, batch)
        return {"reward": rewarded(self.model, drawn, problems, settings.group, self.reward).mean(1)}

    def state_dict(self) -> dict[str, Any]:
        """The reference's weights, and rounds that are under way."""
        return {"reference": self.reference.state_dict(), "rounds": self._rounds.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.reference.load_state_dict(state.get("reference", {}))
        self._rounds.load_state_dict(state.get("rounds", {}), self.model.device)

    # --- the verbs ----------------------------------------------------------------------------------------

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        super().load(folder)
        self._rewards = None

    def evaluate(self) -> list[Measurement]:
        """Rewards, AR-ness and lengths on the test prompts, of the tuned model and of the one before."""
        recipe = self.recipe
        start = self._placed(read_published(recipe.objective.start).float()) if recipe.objective.start else None
        models = {self.name: self._whole(), **({"start": start} if start is not None else {})}
        given = self.prompts.test, recipe.data.tokens, recipe.evaluation, self.reward
        rows, rewards = measure_rewards(models, *given)
        self._rewards = rewards[self.name]
        return rows

    def figures(self, directory: Path) -> list[Path]:
        """Rewards of the test prompts, as a histogram of completions."""
        if self._rewards is None:
            given = self.prompts.test, self.recipe.data.tokens, self.recipe.evaluation, self.reward
            self._rewards = rewards_of_prompts(self._whole(), *given)
        return draw_rewards(self._rewards, directory)

    def analyse(self, options: EstimatorAnalysis, figures: Path) -> Outcome:  # type: ignore[override]
        """Variance of the estimates of log p at equal passes, on completions of test prompts."""
        return study_estimators(self._whole(), self.prompts.test, self.recipe.data.tokens, options)

    @staticmethod
    def describe(recipe: GrpoRecipe) -> dict[str, Any]:  # type: ignore[override]
        """Size and cost of a recipe, from a network on the meta device: parameters, and the bytes of a round with its
        completions, estimates and updates; see ``tenfold.training.rehearsal``."""
        task = _Rehearsed(recipe)
        size = recipe.data.length

        def batch(rows: int) -> Batch:
            prompts = torch.zeros(rows, recipe.data.most_tokens, dtype=torch.long)
            real = torch.ones_like(prompts, dtype=torch.bool)
            return {"prompts": prompts, "real": real, "index": prompts[:, 0], "mean_valid": torch.ones(())}

        with torch.device("meta"):
            model = task.model = MaskedLM.from_config(recipe.model)
            modules = task.modules()
            forward, _ = traced(lambda: model.logits(model.hidden(torch.zeros(1, size, dtype=torch.long))))
        parameters = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        found = rehearsed(task, modules, batch, recipe.train, (), _share(recipe))
        passes = recipe.objective.steps or recipe.data.tokens
        rows = recipe.train.batch_size * recipe.objective.group
        # Completions are drawn with whole weights, which FSDP2 gathers in every process beside its own shard.
        gathered = {"gathered_bytes_per_process": 4 * parameters} if recipe.train.parallel == "fsdp" else {}
        return {
            "parameters": parameters,
            "trained_parameters": trained,
            "forward_flops_per_token": forward // size,
            "rollout_flops_per_step": forward * passes * rows,
            "bf16_weights_bytes": 2 * parameters,
            **found,
            **gathered,
            "row_tokens": size,
            "batch_size": recipe.train.batch_size,
        }


class _Rehearsed(CoupledGrpoTask):
    """The same with one pass in place of a whole completion: every pass takes what the first does."""

    def _begun(self, batch: Batch, draws: Draws) -> Round:
        group, tokens = self.recipe.objective.group, self.recipe.data.tokens
        prompts = batch["prompts"].repeat_interleave(group, 0)
        completions = prompts.new_zeros(len(prompts), tokens)
        with torch.no_grad():
            for part in prompts.split(self.recipe.objective.rollout_batch):
                rows = torch.cat([part, part.new_zeros(len(part), tokens)], 1)
                hidden = self.model.hidden(rows)[:, -tokens - 1 : -1].flatten(0, 1)
                filtered(self.model.logits(hidden).float(), 1.0, self.recipe.objective.top_p).softmax(-1)
        real = batch["real"].repeat_interleave(group, 0)
        drawn = Completed(prompts, real, completions, until_end(completions, (0,)), completions, completions.float())
        return Round(drawn, torch.zeros(len(batch["index"]), group), batch["index"])


def _share(recipe: GrpoRecipe) -> float:
    """Of the tokens of all views, those that are predicted."""
    objective, length = recipe.objective, recipe.data.length
    views = 2 * objective.pairs + 1
    hidden = {"full": 1.0, "d1": 1.0, "spg": 0.5 * (1 + 1 / recipe.data.tokens)}
    covered = hidden.get(objective.estimator, (objective.pairs + 1) / views)
    return covered * recipe.data.tokens / length


def _problems(rows: PromptRows, batch: Mapping[str, Tensor]) -> list[Problem]:
    return [rows.problems[number] for number in batch["problem"].tolist()]


def _about(rewards: Tensor, drawn: Completed) -> dict[str, Tensor]:
    """What to watch of a round."""
    return {
        "reward": rewards.mean(),
        "reward_spread": rewards.std(1).mean(),
        "useful_groups": (rewards != rewards[:, :1]).any(1).float().mean(),
        "completion_tokens": drawn.valid.sum(1).float().mean(),
    }
