"""What a chain draws from: a network's predictions in the wanted view, temperature, nucleus and guidance applied and
calls counted; and its numbers, float64, from a generator or by the sample."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical
from tenfold.discrete.paths import MaskSource, View, in_view
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.networks.protocol import DenoisingNetwork
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.errors import UsageError
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
    """float64 U[0, 1) numbers of a generator, on any device."""

    def __init__(self, seed: int | torch.Generator) -> None:
        self.generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, device: torch.device) -> Tensor:
        """Fresh numbers."""
        home = self.generator.device
        return torch.rand(*shape, dtype=torch.float64, generator=self.generator, device=home).to(device)

    def tokens(self, weights: Float[Tensor, "*b k"]) -> Int[Tensor, "*b"]:
        """Draws in proportion to the weights."""
        return categorical(weights, self(*weights.shape[:-1], device=weights.device))


class KeyedRandom(Random):
    """The same by the sample: row b of the k-th request depends on what keys ``draws``, on index[b] and on k alone,
    not on the other rows. For chains whose every request is of all rows ("ancestral" and the others on a grid)."""

    def __init__(self, draws: Draws, index: Int[Tensor, " b"]) -> None:
        self.draws, self.index, self.requests = draws, index, 0

    def __call__(self, *shape: int, device: torch.device) -> Tensor:
        """Fresh numbers."""
        assert shape[0] == len(self.index)
        self.requests += 1
        return self.draws.uniform(f"chain-{self.requests}", self.index, shape[1:], torch.float64).to(device)
