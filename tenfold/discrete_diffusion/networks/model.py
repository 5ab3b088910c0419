"""The model of discrete diffusion: a network, the noise that it undoes, and the view that it has of a clean token; and
what bounds and samplers ask of whatever predicts clean tokens."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tenfold import hub
from tenfold.discrete.paths import MaskSource, Source, UniformSource, View, carried_over
from tenfold.discrete.schedules import MOST_SIGMA, Cosine, Geometric, Linear, LinearSigma, Polynomial, Schedule, sigma
from tenfold.discrete_diffusion.config import DiffusionConfig, NetworkConfig
from tenfold.discrete_diffusion.networks.blocks import HollowTransformer, Stack
from tenfold.discrete_diffusion.networks.dit import DiT
from tenfold.errors import UsageError
from tenfold.nn.memory import require
from tenfold.text.tokenizer import FileTokenizer, find_tokenizer


@runtime_checkable
class Denoiser(Protocol):
    """``model(noisy, time)`` gives log-probabilities (b, n, V) of ``view``; with ``rows`` (b, n) bool, of the chosen
    tokens alone, (k, V). The time may be left out where ``time_conditioned`` is False."""

    source: Source
    view: View
    time_conditioned: bool

    def __call__(self, noisy: Tensor, time: Tensor | None = None, rows: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class DenoisingNetwork(Denoiser, Protocol):
    """The same with parameters, whose precision times are given in."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class ScheduledNetwork(DenoisingNetwork, Protocol):
    """The same with the schedule of its noise."""

    schedule: Schedule


TOKENIZER = "tokenizer"  # the folder inside a model folder
_Module = TypeVar("_Module", bound=nn.Module)
OfRows = Callable[[Tensor, Tensor], Tensor]
_NUMBERS_AT_ONCE = 2**24  # 64 MiB in float32


class Stored(nn.Module):
    """A network of the room that model folders hold."""

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        network: Any = self.network
        return list(network.layers)

    @classmethod
    def from_pretrained(cls: type[_Module], source: str | os.PathLike[str], **options: Any) -> _Module:
        """The model of a local folder or hub repository, in evaluation mode; strict (``tenfold.hub``)."""
        model: _Module = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)


class DiscreteDiffusion(Stored):
    """Predicts clean tokens x_0 from noisy ones x_t (arXiv 2504.16431 and the methods that it covers).

    ``model(noisy, time)`` gives log-probabilities (b, n, V) of the view that ``view`` names. The mask has none, and a
    posterior keeps the tokens that a mask source left alone as certainties.

    >>> model = DiscreteDiffusion(DiffusionConfig(vocabulary=4, width=32, layers=1, heads=2))
    >>> model(torch.tensor([[4, 1]]))[0, 1]
    tensor([-inf, 0., -inf, -inf], grad_fn=<SelectBackward0>)

    Attributes:
        source: ``MaskSource`` or ``UniformSource``.
        schedule: α_t.
        view: "posterior" or "leave_one_out".
        time_conditioned: whether the noise level is needed; else ``time`` may be left out.
        tokenizer: of the text that it writes, where tokens are no characters and one is known; else None.
    """

    model_type = "discrete-diffusion"
    config_class = DiffusionConfig

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.source: Source = source_of(config)
        self.schedule = schedule_of(config)
        self.view: View = config.view
        self.time_conditioned = config.time or config.output == "scores"
        self.tokenizer: FileTokenizer | None = None
        states = self.source.states
        self.network: nn.Module
        if config.network == "dit":
            self.network, self.head = DiT(config, states), None
        else:
            body = HollowTransformer(config, states) if config.network == "hollow" else None
            self.network = body or Stack(config, states, causal=False, time=config.time)
            self.head = nn.Linear(config.width, states if config.output == "scores" else config.vocabulary)

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        network: Any = self.network
        if isinstance(network, HollowTransformer):
            return [*network.left.layers, *network.right.layers]
        return list(network.blocks if isinstance(network, DiT) else network.layers)

    def forward(
        self,
        noisy: Int[Tensor, "b n"],
        time: Float[Tensor, " b"] | None = None,
        rows: Bool[Tensor, "b n"] | None = None,
        then: OfRows | None = None,
    ) -> Tensor:
        """Log-probabilities of clean tokens, (b, n, V).

        Args:
            noisy: x_t.
            time: t in [0, 1]; may be None for a network that is not told the level.
            rows: tokens that are asked for; the result is then (k, V), in their order, and the head runs on those
                alone.
            then: what is made of the rows' log-probabilities (k, V) and their numbers in that order (k,), a loss (k,)
                say: the result is this, and the rows are computed in parts whose log-probabilities fit into memory, a
                second time for gradients instead of being kept.

        Raises:
            UsageError: no time for a network that needs it, or too long a sequence; ``then`` without rows.
        """
        if then is not None and (rows is None or self.config.output == "scores"):
            raise UsageError("losses in parts are of chosen rows of probabilities; give rows")
        if self.config.output == "scores":
            log_probs = self.probabilities(self.log_ratios(noisy, time), noisy, time)
            return log_probs if rows is None else log_probs[rows]
        states, tokens = self._states(noisy, time, rows), noisy.flatten() if rows is None else noisy[rows]
        if then is None:
            log_probs = self._log_probs(states, tokens)
            return log_probs if rows is not None else log_probs.unflatten(0, noisy.shape)
        size, which = max(1, _NUMBERS_AT_ONCE // self.config.vocabulary), torch.arange(len(tokens), device=noisy.device)
        again = len(tokens) > size and torch.is_grad_enabled()
        parts = zip(states.split(size), tokens.split(size), which.split(size), strict=True)

        def made(states: Tensor, tokens: Tensor, which: Tensor) -> Tensor:
            return then(self._log_probs(states, tokens), which)

        return torch.cat([checkpoint(made, *part, use_reentrant=False) if again else made(*part) for part in parts])

    def _states(self, noisy: Tensor, time: Tensor | None, rows: Tensor | None) -> Tensor:
        """What the head reads of the chosen tokens (of all), (k, ·): hidden states, and beside them a DiT's
        condition."""
        states = self.network(noisy, self._level(noisy, time))
        if isinstance(self.network, DiT):
            hidden, condition = states
            states = torch.cat([hidden, condition[:, None].expand(-1, noisy.shape[1], -1)], dim=-1)
        return states.flatten(0, 1) if rows is None else states[rows]

    def _numbers(self, states: Tensor) -> Tensor:
        """The head, (k, ·)."""
        if isinstance(self.network, DiT):
            numbers: Tensor = self.network.output_layer(*states.tensor_split([self.config.width], dim=-1))
            return numbers
        assert self.head is not None
        return self.head(states)

    def _log_probs(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities (k, V) of the view, of k tokens x_t^i."""
        logits, source = self._numbers(states)[:, : self.config.vocabulary], self.source
        if not isinstance(source, MaskSource):
            return logits.log_softmax(-1)
        if source.mask < source.vocabulary:
            no_token = torch.arange(source.vocabulary, device=logits.device) == source.mask
            logits = logits.masked_fill(no_token, -torch.inf)
        log_probs = logits.log_softmax(-1)
        return carried_over(log_probs[None], tokens[None], source)[0] if self.view == "posterior" else log_probs

    def log_ratios(self, noisy: Int[Tensor, "b n"], time: Float[Tensor, " b"] | None) -> Float[Tensor, "b n s"]:
        """log p_t(x_t with y at i)/p_t(x_t) as a network of scores has it, 0 at the token itself: not normalised.

        A mask source's network gives α/(1 − α) times the posterior at its start, uniform up to its logits.
        Raises UsageError for a network of probabilities."""
        if self.config.output != "scores":
            raise UsageError("this network predicts probabilities, not scores; use noisy_ratios of its posterior")
        if time is None:
            raise UsageError("a network of scores needs the time; give one for each sequence")
        level = sigma(self.schedule, time.double()).clamp(max=MOST_SIGMA)
        numbers = self._numbers(self._states(noisy, time, None)).unflatten(0, noisy.shape)
        if isinstance(self.source, MaskSource):
            scale = torch.log(torch.expm1(level).clamp(min=1e-30)) + torch.log(torch.tensor(self.source.states - 1.0))
            numbers = numbers - scale.to(numbers)[:, None, None]
        return numbers.scatter(-1, noisy[..., None], 0.0)

    def probabilities(
        self, log_ratios: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], time: Float[Tensor, " b"] | None
    ) -> Float[Tensor, "b n v"]:
        """Log-probabilities from ratios: a mask's are in proportion to them; of a uniform source the ratios are
        s_y = (α Q_y + β)/(α Q_x + β), β = (1 − α)/V."""
        assert time is not None  # log_ratios made sure
        if isinstance(self.source, MaskSource):
            return carried_over(log_ratios[..., : self.config.vocabulary].log_softmax(-1), noisy, self.source)
        alpha = self.schedule.alpha(time)[:, None, None].to(log_ratios)
        levels = log_ratios.softmax(-1) - (1 - alpha) / self.source.vocabulary
        return levels.clamp(min=1e-9).log().log_softmax(-1)

    def _level(self, noisy: Tensor, time: Tensor | None) -> Tensor:
        """σ of each sequence; 0 for a network that is not told, as the published ones have it."""
        if not self.config.time:
            return torch.zeros(len(noisy), device=noisy.device)
        if time is None:
            raise UsageError("this network is told the noise level; give a time for each sequence")
        return sigma(self.schedule, time).clamp(max=MOST_SIGMA)

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; of characters, also how text is read; of other tokens, the
        tokenizer."""
        config = self.config
        recipe: dict[str, Any] = {"objective": {"loss": "sedd"}} if config.output == "scores" else {}
        if config.alphabet:
            recipe["data"] = {"alphabet": config.alphabet, "length": config.length}
        extra = dict(extra or {})
        super().save_pretrained(folder, {**extra, "recipe": {**recipe, **extra.get("recipe", {})}})
        if self.tokenizer is not None:
            self.tokenizer.save(Path(folder) / TOKENIZER)

    def read_extras(self, folder: Path) -> None:
        """Read the tokenizer of a model folder that has one."""
        if (folder / TOKENIZER).is_dir():
            self.tokenizer = find_tokenizer(str(folder / TOKENIZER), self.config.vocabulary)


def require_rows(model: nn.Module, config: NetworkConfig, rows: int, length: int, what: str) -> None:
    """Raises UsageError where so many rows of a network of the room, computed together, take more memory than there is:
    a layer's states, and numbers for all tokens of the vocabulary, in their own precision and in double."""
    weight, hidden = next(model.parameters()), config.intermediate or 4 * config.width
    each = (6 * config.width + 2 * hidden + 2 * config.vocabulary) * weight.element_size() + 16 * config.vocabulary
    size = rows * length * each
    require(size, weight.device, f"{what} {rows} rows of {length} tokens at once", "lower --batch")


class ScoreNetwork(nn.Module):
    """The ratios of a network of scores as a module of their own: what is trained on the score entropy."""

    def __init__(self, model: DiscreteDiffusion) -> None:
        super().__init__()
        self.model = model

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        return self.model.shard_units

    def forward(self, noisy: Int[Tensor, "b n"], time: Float[Tensor, " b"]) -> Float[Tensor, "b n s"]:
        """``DiscreteDiffusion.log_ratios``."""
        return self.model.log_ratios(noisy, time)


def source_of(config: DiffusionConfig) -> Source:
    """The noise that a configuration names."""
    return MaskSource(config.vocabulary, config.mask) if config.source == "mask" else UniformSource(config.vocabulary)


def schedule_of(config: DiffusionConfig) -> Schedule:
    """The schedule that a configuration names."""
    if config.schedule in ("cosine", "cosine_squared"):
        return Cosine(config.epsilon, 1 + (config.schedule == "cosine_squared"))
    others: dict[str, Schedule] = {
        "linear": Linear(config.epsilon),
        "polynomial": Polynomial(),
        "geometric": Geometric(),
        "linear_sigma": LinearSigma(),
    }
    return others[config.schedule]
