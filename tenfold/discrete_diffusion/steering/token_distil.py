"""A small masked model from a large autoregressive one, over its tokens.

With masks a site's target depends on the clean sequence alone, not on the noise: the teacher is asked once for each
site, and what it said is used in every epoch.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from tenfold import discrete
from tenfold.data.text.characters import king_james
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.objectives import distribution_form
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.steering.options import TokenData, TokenDistilObjective, TokenEvaluation
from tenfold.discrete_diffusion.targets.autoregressive import ARTeacher, CausalLanguageModel
from tenfold.discrete_diffusion.targets.protocol import choose_sites, site_target
from tenfold.discrete_diffusion.task import TextTask
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.text import networks as text_models
from tenfold.training.streams import Draws
from tenfold.training.task import Update


@runtime_checkable
class TokenDistilRecipe(Protocol):
    """What a recipe must hold."""

    model: DiffusionConfig
    data: TokenData
    objective: TokenDistilObjective
    evaluation: TokenEvaluation
    train: Any


class TokenText(NamedTuple):
    """Rows of three splits in the student's tokens, the teacher's id of each token, the characters that each stands
    for, and the share of rows that could be kept."""

    train: TokenRows
    validation: TokenRows
    test: TokenRows
    kept: np.ndarray
    characters: np.ndarray
    share: float


def read_tokens(config: TokenData, encode: Any, decode: Any) -> TokenText:
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
    """What the teacher said of a row: sites (m,), candidates (m, k), their log-probabilities (m, k)."""

    sites: Tensor
    candidates: Tensor
    log_target: Tensor


class TokenDistilTask:
    """Distillation over a teacher's tokens; the optimiser and the rows' handling are those of all tasks on text."""

    validation_draws = 2

    optimizers = TextTask.optimizers
    train_source = TextTask.train_source
    validation_source = TextTask.validation_source

    def __init__(self, recipe: TokenDistilRecipe, name: str = "discrete-token-distil") -> None:
        self.recipe, self.name = recipe, name
        model, data = recipe.model, recipe.data
        if model.source != "mask" or model.vocabulary != data.vocabulary or model.length < data.length:
            raise UsageError(
                f"the model must be masked, of data.vocabulary ({data.vocabulary}) tokens and at least data.length "
                f"({data.length}); it has source {model.source}, vocabulary {model.vocabulary}, length {model.length}"
            )
        self._said: dict[int, Said] = {}

    @cached_property
    def model(self) -> DiscreteDiffusion:
        """The student: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return DiscreteDiffusion(self.recipe.model)

    @cached_property
    def _language(self) -> tuple[Any, Any]:
        found = text_models.find(self.recipe.data.tokenizer, what="language model")
        return text_models.load_causal(found)

    @cached_property
    def data(self) -> TokenText:
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
        begin = tokenizer.bos_token_id
        kept = torch.from_numpy(self.data.kept)
        return ARTeacher(CausalLanguageModel(network.requires_grad_(False), kept, begin), batch=64)

    def modules(self) -> dict[str, nn.Module]:
        """The student."""
        return {"model": self.model}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update."""
        settings, clean, source = self.recipe.objective, batch["tokens"], self.model.source
        assert isinstance(source, MaskSource)  # __init__ made sure
        n, index = clean.shape[1], batch["index"]
        offset = draws.uniform("noise-offset", torch.zeros_like(index[:1]))
        places = discrete.stratified(offset, index, self.recipe.train.batch_size)
        count = (1 + (places * n).long()).clamp(max=n)
        hidden = discrete.mask_exactly(
            torch.ones_like(clean, dtype=torch.bool), count, draws.uniform("noise", index, (n,))
        )
        noisy = torch.where(hidden, source.mask, clean)
        rows = modules["model"](noisy, None, hidden)
        own = -rows.gather(-1, clean[hidden][:, None])[:, 0]
        metrics, loss = {"cross_entropy": own.detach().mean()}, own.mean()
        if settings.share:
            said = [self._ask(row) for row in clean]
            sites, candidates, target = (torch.stack(part).to(clean.device) for part in zip(*said, strict=True))
            # Only what is said of masks is of use; the rows of the head are numbered by them.
            number = (hidden.flatten().cumsum(0).view(hidden.shape) - 1).gather(1, sites).clamp(min=0)
            real, target = hidden.gather(1, sites), target.to(rows.dtype)
            student = rows[number].gather(-1, candidates).masked_fill(target == -torch.inf, -torch.inf)
            spoken = torch.where(real, distribution_form(target, student, "kl"), 0.0)
            change = spoken - torch.where(real, own[number], 0.0)
            loss = loss + settings.share * change.sum() / len(own)
            work = self.teacher.work
            metrics |= {
                "from_teacher": spoken.detach().sum() / real.sum().clamp(min=1),
                "teacher_tokens": torch.tensor(float(work.tokens)),
                "teacher_calls": torch.tensor(float(work.calls)),
            }
        yield Update("model", loss, metrics, {"log_probs": rows.detach()})

    def _ask(self, row: Tensor) -> Said:
        """The teacher's conditionals of a row at its sites, asked for once; the sites depend on the row alone."""
        key = hash(tuple(row.tolist()))
        if key not in self._said:
            settings, source = self.recipe.objective, self.model.source
            clean = row[None].cpu()
            numbers = Draws(self.recipe.train.seed, 0).uniform(
                "sites", torch.tensor([key & 0x7FFFFFFF]), clean.shape[1:]
            )
            sites, _, _ = choose_sites(torch.ones_like(clean, dtype=torch.bool), settings.sites, numbers)
            candidates = self.teacher.candidates(clean, sites, settings.candidates)
            half = torch.full((1,), 0.5)
            noisy = torch.full_like(clean, self.recipe.model.vocabulary)
            target = site_target(self.teacher, clean, noisy, half, sites, candidates, source, settings.temperature)
            self._said[key] = Said(sites[0], candidates[0], target[0])
        return self._said[key]

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per row: "loss", the bound in nats per token."""
        found = likelihood.bound(self.model, batch["tokens"], self.validation_draws)
        return {"loss": (found.nats / found.tokens).float().to(batch["tokens"].device)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights; what the teacher said is asked for again."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = DiscreteDiffusion.from_pretrained(folder)

    @torch.no_grad()
    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """Bits per token and per character of test rows: the bound of the student, the teacher from left to right, and
        the frequencies of tokens in the training rows."""
        options, data = self.recipe.evaluation, self.data
        some = data.test.some(options.rows)
        tokens = some.batch(np.arange(len(some)))["tokens"]
        device = next(self.model.parameters()).device
        found = likelihood.bound(self.model, tokens.to(device), options.draws, batch=options.batch)
        rows = self._rows(found.nats.cpu(), tokens, self.name, found.name)
        train = np.bincount(data.train.arrays["tokens"].ravel(), minlength=self.recipe.data.vocabulary) + 1.0
        frequencies = torch.from_numpy(-np.log(train / train.sum()))
        rows += self._rows(frequencies[tokens].sum(1), tokens, "unigram", "one added to each count")
        if options.teacher_rows:
            part = tokens[: options.teacher_rows]
            model = self.teacher.model
            nats = [-model.read(few)[0].gather(-1, few[..., None])[..., 0].sum(1) for few in part.split(options.batch)]
            rows += self._rows(torch.cat(nats), part, "teacher", "exact, restricted to the student's tokens")
        rows.append(Measurement("parameters", sum(p.numel() for p in self.model.parameters()), model=self.name))
        rows.append(Measurement("kept_rows", data.share, "", "all", "rows", note="have the most frequent tokens only"))
        return rows

    def _rows(self, nats: Tensor, tokens: Tensor, model: str, note: str) -> list[Measurement]:
        bits, size = nats.double() / math.log(2), float(np.sqrt(len(nats)))
        characters = torch.from_numpy(self.data.characters)[tokens].sum(1).double()
        each = bits / tokens.shape[1]
        ratio = float(bits.sum() / characters.sum())
        spread = float((bits - ratio * characters).std()) / size / float(characters.mean())
        mean, error = float(each.mean()), float(each.std()) / size
        return [
            Measurement("bits_per_token", mean, "bits/token", "test", model, error, None, note),
            Measurement("bits_per_char", ratio, "bits/char", "test", model, spread, None, note),
        ]

    def figures(self, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        directory.mkdir(parents=True, exist_ok=True)
        return []

    @staticmethod
    def describe(recipe: TokenDistilRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device."""
        from tenfold.discrete_diffusion.cost import cost

        with torch.device("meta"):
            model = DiscreteDiffusion(recipe.model)
            tokens = torch.zeros(1, recipe.data.length, dtype=torch.long)
            return cost(model, lambda: model(tokens, torch.zeros(1)), recipe.data.length, recipe.train)
