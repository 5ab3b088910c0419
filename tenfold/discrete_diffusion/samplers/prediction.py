"""What a chain draws from: a network's predictions in the wanted view, temperature, nucleus and guidance applied and
calls counted; its numbers, float64, keyed by the sample; and what steers it without training: a reward by
the value of where every step leads, or a density ratio that chooses which of several clean sequences a step goes to.

The noisy law of the process tilted to p e^{R/β} is p_t e^{A_t}/Z with A_t(x_t) = log E_{p(x_0 | x_t)} e^{R/β} and one
Z for all t, so that its scores are those of p times exp(A_t(y) − A_t(x)). A_t is the log of a mean over K draws of
clean tokens from the network's prediction: biased low by O(1/K), and exact for K → ∞ where clean tokens are independent
given x_t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical
from tenfold.discrete.paths import MaskSource, View, in_view
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.networks.model import DenoisingNetwork
from tenfold.discrete_diffusion.options import ChainOptions
from tenfold.discrete_diffusion.samplers.steps import Span, ancestral
from tenfold.discrete_diffusion.targets.densities import value_of
from tenfold.discrete_diffusion.targets.protocol import all_candidates, edited
from tenfold.errors import UsageError
from tenfold.rl.rewards import Reward
from tenfold.training.streams import Draws


def sharpened(log_probs: Float[Tensor, "*b v"], temperature: float, top_p: float | None) -> Float[Tensor, "*b v"]:
    """Log-probabilities at a temperature (0: all on the most likely token), then without the tokens after the one that
    carries the cumulative probability over ``top_p``."""
    if temperature == 0:
        best = log_probs.argmax(-1, keepdim=True)
        return torch.full_like(log_probs, -torch.inf).scatter_(-1, best, 0.0)
    if temperature != 1:
        log_probs = (log_probs / temperature).log_softmax(-1)
    if top_p is None or top_p == 1:
        return log_probs
    ordered, order = log_probs.sort(-1, descending=True)
    probs = ordered.exp()
    late = probs.cumsum(-1) - probs >= top_p
    kept = torch.empty_like(late).scatter_(-1, order, ~late)
    return log_probs.masked_fill(~kept, -torch.inf).log_softmax(-1)


def guided(
    conditional: Float[Tensor, "*b v"], unconditional: Float[Tensor, "*b v"], weight: float
) -> Float[Tensor, "*b v"]:
    """log p ∝ (1 + w) log p(· | condition) − w log p(·): classifier-free guidance of a prediction.

    A token that the conditional prediction excludes stays excluded."""
    mixed = (1 + weight) * conditional - weight * unconditional
    return mixed.masked_fill(conditional == -torch.inf, -torch.inf).log_softmax(-1)


class Predictor:
    """``predict(noisy, t, view)`` of a network, as the options ask for it.

    ``calls`` counts forward passes, ``rows`` the sequences in them."""

    def __init__(
        self,
        network: DenoisingNetwork,
        schedule: Schedule,
        options: ChainOptions,
        prompt: Bool[Tensor, "b n"] | None = None,
    ) -> None:
        self.network, self.schedule, self.options, self.prompt = network, schedule, options, prompt
        self.source, self.view, self.timed = network.source, network.view, network.time_conditioned
        # Times in the network's own precision.
        self.dtype = next((p.dtype for p in network.parameters()), torch.float32)
        self.calls = self.rows = 0
        if options.guidance and (prompt is None or not prompt.any() or not isinstance(self.source, MaskSource)):
            raise UsageError(
                "guidance compares the prediction with and without the prompt; it needs a prompt and a source with a "
                "mask to hide it"
            )

    def alpha(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """α_t in float64: steps are differences of small numbers."""
        return self.schedule.alpha(t.double())

    def _ask(self, noisy: Tensor, t: Tensor, sites: Tensor | None) -> Tensor:
        self.calls += 1
        self.rows += len(noisy)
        return self.network(noisy, t.to(self.dtype) if self.timed else None, sites)

    def __call__(
        self, noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"], view: View = "posterior"
    ) -> Float[Tensor, "b n v"]:
        """Log-probabilities of every site, in the wanted view; of a mask source, tokens that stand as certainties."""
        source = self.source
        if isinstance(source, MaskSource):
            sites = source.active(noisy)
            certain = torch.arange(source.vocabulary, device=noisy.device) == noisy[..., None]
            found = self.at_masks(noisy, t, sites)
            whole = torch.where(certain, 0.0, -torch.inf).to(found.dtype)
            whole[sites] = found
            return whole
        found = sharpened(self._ask(noisy, t, None), self.options.temperature, self.options.top_p)
        return in_view(found, noisy, self.alpha(t).to(found.dtype), source, self.view, view)

    def at_masks(
        self, noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"], sites: Bool[Tensor, "b n"], which: Tensor | None = None
    ) -> Float[Tensor, "k v"]:
        """Log-probabilities at some masks alone, in row-major order: the network computes no more. ``which`` (b,) are
        the numbers of the rows in the batch, where not all are asked."""
        options, source = self.options, self.source
        assert isinstance(source, MaskSource)
        found = self._ask(noisy, t, sites)
        if options.guidance:
            assert self.prompt is not None
            prompt = self.prompt if which is None else self.prompt[which]
            found = guided(found, self._ask(torch.where(prompt, source.mask, noisy), t, sites), options.guidance)
        return sharpened(found, options.temperature, options.top_p)


class Random:
    """float64 U[0, 1) numbers of samples, on any device: those of row b depend on the seed, on what they are for, on
    the ``turn`` of the chain and on index[b] alone, not on the other rows.

    Args:
        seed: of all numbers; of a generator, the next number that it draws.
        index: (b,) int64, the numbers of the rows in all that is drawn; 0, 1, ... by default.

    Attributes:
        chain: which of the chains that it draws for; each has numbers of its own.
        turn: of the chain: its step, call or event.
    """

    def __init__(self, seed: int | torch.Generator, index: Int[Tensor, " b"] | None = None) -> None:
        self.generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        home = self.generator.device
        self.seed = seed if isinstance(seed, int) else int(torch.randint(2**62, (), generator=seed, device=home))
        self.index, self.chain, self.turn, self._requests = index, 0, 0, 0

    def __call__(
        self, *shape: int, device: torch.device, purpose: str = "", rows: Int[Tensor, " b"] | None = None
    ) -> Tensor:
        """Numbers (b, ...) for a ``purpose`` of this turn, the same whenever they are asked for; without one, fresh
        ones for every request. ``rows`` are those of the batch that they are for, all by default."""
        rows = torch.arange(shape[0], device=device) if rows is None else rows
        index = rows if self.index is None else self.index.to(device)[rows]
        self._requests += not purpose
        draws = Draws(self.seed, self.turn if purpose else self._requests)
        return draws.uniform(f"chain-{self.chain}-{purpose}", index, shape[1:], torch.float64)

    def tokens(
        self, weights: Float[Tensor, "b *n k"], purpose: str = "", rows: Int[Tensor, " b"] | None = None
    ) -> Int[Tensor, "b *n"]:
        """Draws in proportion to the weights."""
        return categorical(weights, self(*weights.shape[:-1], device=weights.device, purpose=purpose, rows=rows))


class KeyedRandom(Random):
    """The same of a training step: what keys ``draws`` is in the key, and every request is numbered."""

    def __init__(self, draws: Draws, index: Int[Tensor, " b"]) -> None:
        self.draws, self.index, self.chain, self.turn, self.requests = draws, index, 0, 0, 0

    def __call__(
        self, *shape: int, device: torch.device, purpose: str = "", rows: Int[Tensor, " b"] | None = None
    ) -> Tensor:
        """Fresh numbers, of all rows."""
        assert rows is None
        assert self.index is not None
        self.requests += 1
        return self.draws.uniform(f"chain-{self.requests}", self.index, shape[1:], torch.float64).to(device)


_NUMBERS_AT_ONCE = 2**23


class Guide:
    """Predictions of the tilted process from those of a network; ``predict.options`` have K and β."""

    def __init__(self, predict: Predictor, reward: Reward, random: Random) -> None:
        self.predict, self.reward, self.random = predict, reward, random

    def at_site(
        self,
        log_probs: Float[Tensor, "b v"],
        noisy: Int[Tensor, "b n"],
        site: Bool[Tensor, "b n"],
        t: Float[Tensor, " b"],
        rows: Int[Tensor, " b"],
    ) -> Float[Tensor, "b v"]:
        """log p^R(x_0^i | x_t) ∝ p(x_0^i = y | x_t) e^{A_t(x_t with y at i)} at one mask i of each row: V sequences a
        row are evaluated. ``rows`` are their numbers in the batch."""
        tokens = torch.arange(log_probs.shape[-1], device=noisy.device)
        after = torch.where(site[:, None], tokens[:, None], noisy[:, None])
        return (log_probs.double() + self.values(after, t, rows)).log_softmax(-1)

    def ratios(
        self, ratios: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n s"]:
        """Noisy ratios of the tilted process: all n S sequences one token away are evaluated."""
        sites = torch.arange(noisy.shape[1], device=noisy.device).expand(len(noisy), -1)
        others = edited(noisy, sites, all_candidates(sites, ratios.shape[-1])).flatten(1, 2)
        values = self.values(torch.cat([noisy[:, None], others], 1), t)
        return ratios * (values[:, 1:].view(ratios.shape) - values[:, :1, None]).exp()

    def values(
        self, noisy: Int[Tensor, "b m n"], t: Float[Tensor, " b"], rows: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b m"]:
        """A_t of the m sequences of each row, with the same random numbers for all of a row: what is wanted are
        differences."""
        options, vocabulary = self.predict.options, self.predict.source.vocabulary
        (b, m, n), k = noisy.shape, options.values
        numbers = self.random(b, 1, k, n, device=noisy.device, purpose="values", rows=rows)
        numbers = numbers.expand(-1, m, -1, -1).flatten(0, 1)
        sequences, times = noisy.flatten(0, 1), t.repeat_interleave(m)
        found = []
        for part in torch.arange(b * m, device=noisy.device).split(max(1, _NUMBERS_AT_ONCE // (k * n * vocabulary))):
            probs = self.predict(sequences[part], times[part], "posterior").exp()
            drawn = categorical(probs[:, None].expand(-1, k, -1, -1), numbers[part])
            found.append(value_of(drawn, self.reward, options.beta).double())
        return torch.cat(found).view(b, m)


LogRatioOf = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clean (b, n), noisy (b, n), t (b,)) ↦ log r (b,): which candidates are kept."""


@dataclass(frozen=True)
class Candidates:
    """``count`` clean sequences k are drawn from the prediction at each step, of which one is taken by softmax(log r).

    Attributes:
        log_ratio: log r.
        count: k.
        window: share of the steps, from the beginning, in which it is done.
    """

    log_ratio: LogRatioOf
    count: int
    window: float = 1.0

    def transition(
        self, predict: Predictor, random: Random, noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"], step: Span
    ) -> Float[Tensor, "b n s"]:
        """The ancestral step towards the chosen sequence."""
        k, source = self.count, predict.source
        posterior = predict(noisy, t, "posterior")
        weights = posterior.exp()[:, None].expand(-1, k, -1, -1)
        drawn = random.tokens(weights, "candidates").flatten(0, 1)
        log_ratio = self.log_ratio(drawn, noisy.repeat_interleave(k, 0), t.repeat_interleave(k, 0))
        chosen = random.tokens(log_ratio.view(-1, k).double().softmax(-1), "chosen")
        clean = drawn.view(len(noisy), k, -1)[torch.arange(len(noisy), device=noisy.device), chosen]
        certain = torch.nn.functional.one_hot(clean, source.vocabulary).double().log()
        return ancestral(certain, noisy, step, source)
