"""Learning from an autoregressive teacher as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.objectives import cross_entropy, distribution_form
from tenfold.discrete_diffusion.config import AutoregressiveConfig, NetworkConfig
from tenfold.discrete_diffusion.corpus import rows_of
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.noising import Masked
from tenfold.discrete_diffusion.steering.recipes import DistilRecipe
from tenfold.discrete_diffusion.steering.tuned import SteeringTask
from tenfold.discrete_diffusion.targets.protocol import all_candidates, restricted, shared_sites, site_target
from tenfold.discrete_diffusion.targets.teachers import ARTeacher, NetworkTeacher, RehearsedTeacher, Work
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.hub.folders import read_config
from tenfold.settings.values import build
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, mean_count


class DistilTask(SteeringTask):
    """Site targets of an autoregressive teacher in place of single tokens of the data: the same optimum, less noise
    in the gradient."""

    def __init__(self, recipe: DistilRecipe, name: str = "") -> None:
        super().__init__(recipe, name)
        if recipe.objective.candidates > recipe.model.vocabulary:
            raise UsageError(
                f"objective.candidates is {recipe.objective.candidates}, but the vocabulary has "
                f"{recipe.model.vocabulary} tokens; give at most that"
            )
        self._before = Work()

    @cached_property
    def model(self) -> DiscreteDiffusion:
        """The student: fresh, what training starts from, or what ``load`` read."""
        model: DiscreteDiffusion = self.start().train() if self.recipe.objective.start else super().model
        return model

    @cached_property
    def teacher(self) -> ARTeacher:
        """The frozen teacher."""
        recipe = self.recipe
        model = Autoregressive.from_pretrained(model_folder(recipe.objective.teacher)).requires_grad_(False)
        if model.config.alphabet != recipe.model.alphabet:
            raise UsageError(
                f"the teacher reads {model.config.alphabet!r}, the student {recipe.model.alphabet!r}; teacher and "
                "student must share one alphabet"
            )
        if model.config.length < recipe.data.length:
            raise UsageError(
                f"the teacher reads {model.config.length} characters, fewer than data.length {recipe.data.length}"
            )
        return self.placed(ARTeacher(NetworkTeacher(model), recipe.objective.method))

    def rehearse(self) -> list[nn.Module]:
        """The student and the teacher: as large as it is, or, where it is not there yet, as the student."""
        super().rehearse()
        named, mine = Path(self.recipe.objective.teacher), self.recipe.model
        if named.exists():
            config = build(AutoregressiveConfig, read_config(model_folder(named))["config"], "model")
        else:
            same = {f.name: getattr(mine, f.name) for f in fields(NetworkConfig)}
            config = AutoregressiveConfig(**same)
        teacher = Autoregressive(config).requires_grad_(False)
        self.teacher = RehearsedTeacher(NetworkTeacher(teacher), self.recipe.objective.method)
        return [teacher]

    def train_source(self) -> TokenRows:
        """Rows of the training blocks, and those that the teacher writes."""
        return self._rows

    @cached_property
    def _rows(self) -> TokenRows:
        settings, known = self.recipe.objective, self.corpus.splits.train
        if not settings.samples:
            return known
        teacher = self.teacher.model
        assert isinstance(teacher, NetworkTeacher)
        written = rows_of(teacher.sample(settings.samples, self.recipe.data.length, self.recipe.train.seed)).arrays
        kept = known.arrays
        return TokenRows({name: np.concatenate([kept[name], written[name].astype(kept[name].dtype)]) for name in kept})

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The masks of a batch."""
        return {"masks": self.masks(batch["tokens"], batch["index"], draws).hidden.sum()}

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        settings, clean = self.recipe.objective, batch["tokens"]
        masked = self.masks(clean, batch["index"], draws)
        hidden = masked.hidden
        masks = mean_count(batch, "masks", hidden.sum())
        log_probs = self.masks.predict(modules["model"], masked.noisy, hidden, masks_only=True)
        whole = log_probs.new_zeros(*clean.shape, log_probs.shape[-1])
        whole[hidden] = log_probs
        own = torch.where(hidden, cross_entropy(whole, clean), 0.0)
        if not settings.sites:
            yield Update("model", own.sum() / masks, {}, {"log_probs": log_probs.detach()})
            return
        numbers = draws.uniform("sites", torch.zeros_like(batch["index"][:1]), (clean.shape[1],))[0]
        sites, real, spoken = self._said(whole, clean, masked, numbers)
        # Where the teacher spoke, its distribution takes the place of the data's token: the same mean, less noise.
        change = spoken - own.gather(1, sites)
        metrics = {
            "cross_entropy": own.detach().sum() / masks,
            "from_teacher": spoken.detach().sum() / real.sum().clamp(min=1),
            "teacher_share": real.sum() / masks,
            **self.work.metrics(),
        }
        loss = (own.sum() + settings.share * change.sum()) / masks
        yield Update("model", loss, metrics, {"log_probs": log_probs.detach()})

    def _said(
        self,
        whole: Float[Tensor, "b n v"],
        clean: Int[Tensor, "b n"],
        masked: Masked,
        numbers: Float[Tensor, " n"],
    ) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"], Float[Tensor, "b m"]]:
        """The sites that the teacher is asked for, which of them are masks, and KL from its conditionals there."""
        settings, source, teacher = self.recipe.objective, self.masks.source, self.teacher.to(clean.device)
        sites, real, _ = shared_sites(masked.hidden, settings.sites, numbers)
        if settings.candidates:
            candidates = teacher.candidates(clean, sites, settings.candidates)
        else:
            candidates = all_candidates(sites, source.vocabulary)
        # What is not masked is not asked for: its only candidate is the token itself.
        candidates = torch.where(real[..., None], candidates, clean.gather(1, sites)[..., None])
        target = site_target(
            teacher, clean, masked.noisy, masked.alpha, sites, candidates, source, settings.temperature
        ).to(whole.dtype)
        student = restricted(whole, sites, candidates).masked_fill(target == -torch.inf, -torch.inf)
        return sites, real, torch.where(real, distribution_form(target, student, "kl"), 0.0)

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
