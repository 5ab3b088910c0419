"""Distillation over a teacher's tokens as the training loop and the verbs see it.

With masks a site's target depends on the clean sequence alone, not on the noise: the teacher is asked once for each
site, and what it said is used in every epoch.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.text.characters import king_james
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.objectives import distribution_form
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.corpus import no_pictures
from tenfold.discrete_diffusion.evaluation import averaged, size_row, some_rows, unigram_nats
from tenfold.discrete_diffusion.noising import Masks
from tenfold.discrete_diffusion.recipes import TokenData, TokenDistilRecipe
from tenfold.discrete_diffusion.targets.protocol import choose_sites, site_target
from tenfold.discrete_diffusion.targets.teachers import ARTeacher, CausalLanguageModel, RehearsedTeacher
from tenfold.discrete_diffusion.task import TaskDefaults
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.text import networks as text_models
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of, mean_count


class TokenText(NamedTuple):
    """Rows of three splits in the student's tokens, the teacher's id of each token, the characters that each stands
    for, and the share of rows that could be kept."""

    train: TokenRows
    validation: TokenRows
    test: TokenRows
    kept: np.ndarray
    characters: np.ndarray
    share: float


def language_model(source: str) -> tuple[Any, Any]:
    """The tokenizer and the network of a language model of transformers."""
    found: tuple[Any, Any] = text_models.load_causal(text_models.find(source, what="language model"))
    return found


def language_model_size(source: str) -> Any:
    """The network of ``language_model`` on the meta device."""
    return text_models.causal_on_meta(text_models.find(source, what="language model"))


def read_tokens(config: TokenData, encode: Callable[[str], Sequence[int]], decode: Callable[[int], str]) -> TokenText:
    """The King James Bible as rows; ``encode`` takes a text to ids, ``decode`` one id to its text.

    Raises UsageError where a split is empty."""
    ids = np.asarray(encode(king_james()), np.int64)
    rows = ids[: len(ids) // config.length * config.length].reshape(-1, config.length)
    counts = np.bincount(ids)
    kept = np.sort(np.argsort(-counts, kind="stable")[: config.vocabulary])
    kept = kept[counts[kept] > 0]
    if len(kept) < config.vocabulary:
        raise UsageError(
            f"the text has {len(kept)} different tokens, fewer than data.vocabulary {config.vocabulary}; lower it"
        )
    numbers = np.full(len(counts), -1, np.int64)
    numbers[kept] = np.arange(len(kept))
    tokens, place = numbers[rows], np.arange(len(rows)) % config.every
    whole = (tokens >= 0).all(1)
    middle = config.every // 2
    splits = {}
    for name, wanted in (
        ("train", (place != middle) & (place != middle - 1)),
        ("validation", place == middle),
        ("test", place == middle - 1),
    ):
        chosen = tokens[whole & wanted].astype(np.int32)
        if not len(chosen):
            raise UsageError(f"no row of the {name} split has the most frequent tokens only; raise data.vocabulary")
        on = np.ones(chosen.shape, bool)
        splits[name] = TokenRows({"tokens": chosen, "maskable": on, "real": on})
    characters = np.array([len(decode(int(i))) for i in kept])
    return TokenText(
        splits["train"].some(config.rows), splits["validation"], splits["test"], kept, characters, float(whole.mean())
    )


class Said(NamedTuple):
    """What the teacher said of a row: sites, candidates, their log-probabilities."""

    sites: Int[Tensor, " m"]
    candidates: Int[Tensor, "m k"]
    log_target: Float[Tensor, "m k"]


class TokenDistilTask(TaskDefaults):
    """Distillation over a teacher's tokens."""

    def __init__(self, recipe: TokenDistilRecipe, name: str = "discrete-token-distil") -> None:
        self.recipe, self.name = recipe, name
        model, data = recipe.model, recipe.data
        if model.source != "mask" or model.vocabulary != data.vocabulary or model.length < data.length:
            raise UsageError(
                f"the model must be masked, of data.vocabulary ({data.vocabulary}) tokens and at least data.length "
                f"({data.length}); it has source {model.source}, vocabulary {model.vocabulary}, length {model.length}"
            )
        self.masks = Masks(model, recipe.train.batch_size)
        self._answers: dict[int, Said] = {}

    @cached_property
    def _language(self) -> tuple[Any, Any]:
        return language_model(self.recipe.data.tokenizer)

    @cached_property
    def data(self) -> TokenText:  # type: ignore[override]
        """The text in the teacher's tokens."""
        tokenizer = self._language[0]
        return read_tokens(
            self.recipe.data,
            lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
            lambda number: tokenizer.decode([number]),
        )

    @cached_property
    def teacher(self) -> ARTeacher:
        """The language model, restricted to the student's tokens; its token of beginning goes before each row."""
        tokenizer, network = self._language
        kept = torch.from_numpy(self.data.kept)
        teacher = CausalLanguageModel(network.requires_grad_(False), kept, tokenizer.bos_token_id)
        return self.placed(ARTeacher(teacher, batch=64))

    def rehearse(self) -> list[nn.Module]:
        """The student and the teacher, which is asked for one row: what it said of the others is there already."""
        super().rehearse()
        if not self.recipe.objective.share:
            return []
        network = language_model_size(self.recipe.data.tokenizer).requires_grad_(False)
        teacher = CausalLanguageModel(network, torch.arange(self.recipe.data.vocabulary), 0)
        self.teacher = RehearsedTeacher(teacher, batch=64)
        said = cache(lambda: self._said(torch.zeros(self.recipe.data.length, dtype=torch.long), 0))
        self._ask = lambda row: said()  # type: ignore[method-assign]
        return [network]

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The masks of a batch."""
        return {"masks": self.masks(batch["tokens"], batch["index"], draws).hidden.sum()}

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        settings, clean = self.recipe.objective, batch["tokens"]
        noisy, hidden, _ = self.masks(clean, batch["index"], draws)
        rows = self.masks.predict(modules["model"], noisy, hidden, masks_only=True)
        own = -rows.gather(-1, clean[hidden][:, None])[:, 0]
        masks = mean_count(batch, "masks", hidden.sum())
        loss = own.sum() / masks
        metrics = {"cross_entropy": loss.detach()}
        if settings.share:
            self.teacher.to(clean.device)
            said = [self._ask(row) for row in clean]
            sites, candidates, target = (torch.stack(part).to(clean.device) for part in zip(*said, strict=True))
            # Only what is said of masks is of use; the rows of the head are numbered by them.
            number = (hidden.flatten().cumsum(0).view(hidden.shape) - 1).gather(1, sites).clamp(min=0)
            real, target = hidden.gather(1, sites), target.to(rows.dtype)
            student = rows[number].gather(-1, candidates).masked_fill(target == -torch.inf, -torch.inf)
            spoken = torch.where(real, distribution_form(target, student, "kl"), 0.0)
            change = spoken - torch.where(real, own[number], 0.0)
            loss = loss + settings.share * change.sum() / masks
            metrics |= {
                "from_teacher": spoken.detach().sum() / real.sum().clamp(min=1),
                **self.teacher.work.metrics(),
            }
        yield Update("model", loss, metrics, {"log_probs": rows.detach()})

    def _ask(self, row: Int[Tensor, " n"]) -> Said:
        """The teacher's conditionals of a row at its sites, asked for once; the sites depend on the row alone."""
        key = hash(tuple(row.tolist()))
        if key not in self._answers:
            self._answers[key] = self._said(row, key & 0x7FFFFFFF)
        return self._answers[key]

    def _said(self, row: Int[Tensor, " n"], number: int) -> Said:
        settings, clean = self.recipe.objective, row[None]
        index = torch.tensor([number], device=row.device)
        numbers = Draws(self.recipe.train.seed, 0).uniform("sites", index, (len(row),))
        whole = torch.ones_like(clean, dtype=torch.bool)
        sites, _, _ = choose_sites(whole, settings.sites, numbers)
        candidates = self.teacher.candidates(clean, sites, settings.candidates)
        half, noisy = torch.full((1,), 0.5, device=row.device), self.masks.put(clean, whole)
        source = self.masks.source
        target = site_target(self.teacher, clean, noisy, half, sites, candidates, source, settings.temperature)
        return Said(sites[0].cpu(), candidates[0].cpu(), target[0].cpu())

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", the bound in nats per token, by two draws of noise."""
        found = likelihood.bound(self.model, batch["tokens"], 2)
        return {"loss": (found.nats / found.tokens).float().to(batch["tokens"].device)}

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    @torch.no_grad()
    def evaluate(self) -> list[Measurement]:
        """Bits per token and per character of test rows: the bound of the student, the teacher from left to right, and
        the frequencies of tokens in the training rows."""
        options, data = self.recipe.evaluation, self.data
        tokens = some_rows(data.test, options.rows)
        found = likelihood.bound(self.model, tokens.to(device_of(self.model)), options.draws, batch=options.batch)
        rows = self._rows(found.nats.cpu(), tokens, self.name, found.name)
        frequencies = unigram_nats(data.train, tokens, self.recipe.data.vocabulary)
        rows += self._rows(frequencies, tokens, "unigram", "one added to each count")
        if options.teacher_rows:
            part, teacher = tokens[: options.teacher_rows], self.teacher.to(device_of(self.model)).model
            parts = part.to(device_of(self.model)).split(options.batch)
            nats = [-teacher.read(few)[0].gather(-1, few[..., None])[..., 0].sum(1).cpu() for few in parts]
            rows += self._rows(torch.cat(nats), part, "teacher", "exact, restricted to the student's tokens")
        rows.append(size_row(self.model, self.name))
        rows.append(Measurement("kept_rows", data.share, "", "all", "rows", note="have the most frequent tokens only"))
        return rows

    def _rows(self, nats: Float[Tensor, " b"], tokens: Int[Tensor, "b n"], model: str, note: str) -> list[Measurement]:
        bits = nats.double() / math.log(2)
        characters = torch.from_numpy(self.data.characters)[tokens].sum(1).double()
        ratio = float(bits.sum() / characters.sum())
        mean, error = averaged(bits / tokens.shape[1])
        spread = averaged(bits - ratio * characters)[1] / float(characters.mean())
        return [
            Measurement("bits_per_token", mean, "bits/token", "test", model, error, None, note),
            Measurement("bits_per_char", ratio, "bits/char", "test", model, spread, None, note),
        ]

    def figures(self, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        return no_pictures(directory)
