"""Noising of tokens: sources of noise, what they do to a posterior, scores of noisy tokens, rates.

A token is kept with probability α and otherwise redrawn from the source's law π: p(x_t = a | x_0 = b) = α [a = b] +
(1 − α) π(a). With ``MaskSource`` π is the mask, with ``UniformSource`` any token of the vocabulary. Functions take α
itself, of shape (b,), so that it does not matter which way time runs (Zhang et al., arXiv 2504.16431, let it run from
noise to data and write κ).

A prediction of clean tokens has one of two views. The *posterior* is p(x_0^i | x_t), the *leave-one-out* view
p(x_0^i | x_t without its token i); they differ by the likelihood of x_t^i, so that at a mask they are the same.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.errors import UsageError
from tenfold.settings.checks import settings

View = Literal["posterior", "leave_one_out"]


@settings
class _Tokens:
    vocabulary: int

    def __post_init__(self) -> None:
        if self.vocabulary < 2:
            raise UsageError(f"vocabulary is {self.vocabulary}; noise needs at least 2 tokens")

    @property
    def states(self) -> int:
        """S, states of a noisy token."""
        return self.vocabulary

    def check_clean(self, clean: Tensor, name: str = "clean") -> None:
        """Raises UsageError for anything but int64 tokens 0 … V − 1."""
        _check_tokens(clean, self.vocabulary, name)

    def check_noisy(self, noisy: Tensor, name: str = "noisy") -> None:
        """Raises UsageError for anything but int64 states 0 … S − 1."""
        _check_tokens(noisy, self.states, name)


@settings
class MaskSource(_Tokens):
    """Noise that hides tokens: π is the mask.

    Attributes:
        vocabulary: V, classes of a clean token.
        mask: number of the mask; V, one more state, unless a tokenizer has it inside its vocabulary.

    >>> MaskSource(4).noise(torch.tensor([[0, 1, 2]]), torch.tensor([0.5]), torch.tensor([[0.1, 0.6, 0.4]]))
    tensor([[4, 1, 4]])
    """

    mask: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask == -1:
            object.__setattr__(self, "mask", self.vocabulary)
        if not 0 <= self.mask <= self.vocabulary:
            raise UsageError(f"mask is {self.mask}; it lies between 0 and the vocabulary, {self.vocabulary}")

    @property
    def states(self) -> int:
        """S, states of a noisy token."""
        return self.vocabulary + (self.mask == self.vocabulary)

    def noise(
        self,
        clean: Int[Tensor, "b n"],
        alpha: Float[Tensor, " b"],
        whether: Float[Tensor, "b n"],
        which: Float[Tensor, "b n"] | None = None,
    ) -> Int[Tensor, "b n"]:
        """x_t: hidden where the U[0, 1) numbers ``whether`` are below 1 − α; ``which`` is not needed."""
        return torch.where(whether < 1 - alpha[:, None], self.mask, clean)

    def active(self, noisy: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
        """Where a clean token is yet to be found: at masks."""
        return noisy == self.mask

    def likelihood(self, noisy: Int[Tensor, "b n"], alpha: Float[Tensor, " b"]) -> Float[Tensor, "b n v"]:
        """p(x_t^i | x_0^i = a) for every a."""
        kept = alpha[:, None, None] * _one_hot(noisy, self.states, alpha.dtype)[..., : self.vocabulary]
        return torch.where(self.active(noisy)[..., None], 1 - alpha[:, None, None], kept)

    def check_clean(self, clean: Tensor, name: str = "clean") -> None:
        """Raises UsageError for anything but int64 tokens 0 … V − 1 without the mask."""
        super().check_clean(clean, name)
        if bool((clean == self.mask).any()):
            raise UsageError(f"{name} holds the mask {self.mask}, which no clean token is; remove it from the data")


@settings
class UniformSource(_Tokens):
    """Noise that redraws tokens: π is uniform on the vocabulary. A redrawn token may be the same again.

    Attributes:
        vocabulary: V, classes of a clean token and states of a noisy one.

    >>> zero = torch.zeros(1, 2)
    >>> UniformSource(4).noise(torch.tensor([[0, 1]]), torch.tensor([0.5]), zero, torch.tensor([[0.9, 0.3]]))
    tensor([[3, 1]])
    """

    def noise(
        self,
        clean: Int[Tensor, "b n"],
        alpha: Float[Tensor, " b"],
        whether: Float[Tensor, "b n"],
        which: Float[Tensor, "b n"],
    ) -> Int[Tensor, "b n"]:
        """x_t: redrawn where the U[0, 1) numbers ``whether`` are below 1 − α, to the token that ``which`` says."""
        fresh = (which * self.vocabulary).long().clamp(max=self.vocabulary - 1)
        return torch.where(whether < 1 - alpha[:, None], fresh, clean)

    def active(self, noisy: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
        """Where a clean token is yet to be found: everywhere."""
        return torch.ones_like(noisy, dtype=torch.bool)

    def likelihood(self, noisy: Int[Tensor, "b n"], alpha: Float[Tensor, " b"]) -> Float[Tensor, "b n v"]:
        """p(x_t^i | x_0^i = a) for every a."""
        a = alpha[:, None, None]
        return a * _one_hot(noisy, self.vocabulary, alpha.dtype) + (1 - a) / self.vocabulary


Source = MaskSource | UniformSource


def posterior_from_leave_one_out(
    log_leave_one_out: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], alpha: Float[Tensor, " b"], source: Source
) -> Float[Tensor, "b n v"]:
    """log p(x_0^i | x_t) from log p(x_0^i | x_t without i): times the likelihood of x_t^i, normalised. At a token that
    a mask source left alone, the token itself."""
    check_classes(log_leave_one_out, source)
    if isinstance(source, MaskSource):
        return carried_over(log_leave_one_out.log_softmax(-1), noisy, source)
    return (log_leave_one_out + source.likelihood(noisy, alpha).to(log_leave_one_out).log()).log_softmax(-1)


def leave_one_out_from_posterior(
    log_posterior: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], alpha: Float[Tensor, " b"], source: Source
) -> Float[Tensor, "b n v"]:
    """The inverse. At a mask both are the same; at a token that a mask source left alone the posterior does not tell
    what it would be without it, and the token stays.

    Raises UsageError for a uniform source at α = 1, where the posterior is the token itself."""
    check_classes(log_posterior, source)
    if isinstance(source, MaskSource):
        return log_posterior
    if bool((alpha >= 1).any()):
        raise UsageError("alpha is 1: without noise the posterior does not tell the leave-one-out view; give alpha < 1")
    return (log_posterior - source.likelihood(noisy, alpha).to(log_posterior).log()).log_softmax(-1)


def in_view(
    log_prediction: Float[Tensor, "b n v"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    source: Source,
    given: View,
    wanted: View,
) -> Float[Tensor, "b n v"]:
    """A prediction of one view in the other; with masks both are the same."""
    if given == wanted or isinstance(source, MaskSource):
        return log_prediction
    change = posterior_from_leave_one_out if wanted == "posterior" else leave_one_out_from_posterior
    return change(log_prediction, noisy, alpha, source)


def carried_over(
    log_probs: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], source: MaskSource
) -> Float[Tensor, "b n v"]:
    """Log-probabilities with the tokens that were left alone as certainties: 0 at the token, −∞ elsewhere."""
    tokens = torch.arange(source.vocabulary, device=noisy.device)
    certain = torch.where(tokens == noisy[..., None], 0.0, -torch.inf).to(log_probs)
    return torch.where(source.active(noisy)[..., None], log_probs, certain)


def noisy_ratios(
    log_posterior: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], alpha: Float[Tensor, " b"], source: Source
) -> Float[Tensor, "b n s"]:
    """The concrete score p_t(x_t with y at i) / p_t(x_t) = Σ_b p(x_0^i = b | x_t) p(y | b)/p(x_t^i | b), for every
    state y of every token; linear in the posterior.

    At a token that a mask source left alone no jump of the reverse process is possible: 1 at the token, 0 elsewhere.
    Raises UsageError for a uniform source at α = 1, where the ratios are infinite."""
    check_classes(log_posterior, source)
    posterior, a = log_posterior.exp(), alpha[:, None, None].to(log_posterior)
    itself = _one_hot(noisy, source.states, log_posterior.dtype)
    if isinstance(source, MaskSource):
        ratios = F.pad(a / (1 - a) * posterior, (0, source.states - source.vocabulary))
        return torch.where(source.active(noisy)[..., None] & (itself == 0), ratios, itself)
    if bool((alpha >= 1).any()):
        raise UsageError("alpha is 1: the ratios of a uniform source are infinite without noise; give alpha < 1")
    b = (1 - a) / source.vocabulary
    here = posterior.gather(-1, noisy[..., None])
    return torch.where(itself == 0, 1 - a / (a + b) * here + a / b * posterior, itself)


def check_classes(log_probs: Tensor, source: Source) -> None:
    """Raises UsageError for predictions that are not of the V tokens of a source."""
    if log_probs.shape[-1] != source.vocabulary:
        extra = "; leave the mask out" if log_probs.shape[-1] == source.states else ""
        raise UsageError(
            f"the predictions have {log_probs.shape[-1]} classes, but the vocabulary is {source.vocabulary}{extra}"
        )


def _one_hot(tokens: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return (tokens[..., None] == torch.arange(size, device=tokens.device)).to(dtype)


def _check_tokens(tokens: Tensor, size: int, name: str) -> None:
    if tokens.dtype != torch.int64 or tokens.ndim != 2:
        raise UsageError(
            f"{name} has dtype {tokens.dtype} and shape {tuple(tokens.shape)}; expected int64 tokens (b, n)"
        )
    outside = (tokens < 0) | (tokens >= size)
    if bool(outside.any()):
        raise UsageError(f"{name} holds the token {tokens[outside][0].item()}; tokens lie between 0 and {size - 1}")
