"""Where annealing starts, and what lies between: p_t ∝ η^{1−β} ρ^β of a normalised prior η (arXiv 2505.17741)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import categorical
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, bare, reads_tokens, site_log_ratio, site_odds
from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor, floats


@reads_tokens
class ProductPrior(nn.Module):
    """Independent sites, normalised: where paths begin.

    Args:
        probabilities: (d, S), above 0 (a path could not leave what its beginning excludes), each row of sum 1.
    """

    log_probs: Tensor

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        p = floats(probabilities, "probabilities")
        if p.ndim != 2 or p.shape[1] < 2:
            raise UsageError(f"probabilities have shape {tuple(p.shape)}; give (sites, states)")
        if bool((p <= 0).any()):
            raise UsageError("a probability of the prior is 0; it must leave no state of the target out")
        if not torch.allclose(p.double().sum(1), torch.ones(len(p), dtype=torch.float64), atol=1e-5):
            raise UsageError("the probabilities of a site do not sum to 1; log Z needs a normalised prior")
        self.sites, self.states = p.shape
        self.register_buffer("log_probs", p.log())

    @property
    def colours(self) -> list[Tensor]:
        """All sites at once."""
        return [torch.arange(self.sites, device=self.log_probs.device)]

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log η(x), normalised."""
        return self.log_probs.expand(len(x), -1, -1).gather(-1, x[..., None])[..., 0].sum(1)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """As the protocol says."""
        return self.log_probs - self.log_probs.expand(len(x), -1, -1).gather(-1, x[..., None])

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
        """At some sites alone."""
        table = self.log_probs[chosen].expand(len(x), -1, -1)
        return table - table.gather(-1, x[:, chosen, None])

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Of binary sites, log-odds of token 1."""
        return (self.log_probs[chosen, 1] - self.log_probs[chosen, 0]).expand(len(x), -1)

    def draw(self, uniforms: Float[Tensor, "b d"]) -> Int[Tensor, "b d"]:
        """Samples from U[0, 1) numbers."""
        return categorical(self.log_probs.exp().expand(len(uniforms), -1, -1), uniforms)


def uniform(sites: int, states: int, dtype: torch.dtype = torch.float32) -> ProductPrior:
    """Every token alike."""
    return ProductPrior(torch.full((sites, states), 1 / states, dtype=dtype))


class AnnealedTarget:
    """log p_t up to log Z_t of a path between prior and target at given times, itself a ``DiscreteTarget``.

    Args:
        target, prior: of the same sites and states.
        beta: (b,) the exponents of the rows that it will be asked for, or a scalar tensor for all; in [0, 1], where 0
            forgets what the target forbids.
    """

    def __init__(self, target: DiscreteTarget, prior: ProductPrior, beta: Float[Tensor, "*b"]) -> None:
        self.target, self.prior, self.beta = target, prior, beta
        self.sites, self.states = target.sites, target.states

    @property
    def colours(self) -> list[Tensor]:
        """Those of the target."""
        found = getattr(self.target, "colours", None)
        return list(torch.arange(self.sites, device=self.beta.device).split(1)) if found is None else list(found)

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """(1 − β) log η + β log ρ."""
        return tempered(bare(self.prior, "log_prob")(x), bare(self.target, "log_prob")(x), self.beta)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """Of all neighbours."""
        theirs, mine = (bare(law, "neighbour_log_ratio")(x) for law in (self.prior, self.target))
        return tempered(theirs, mine, self.beta[..., None, None])

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
        """At some sites alone."""
        theirs, mine = (site_log_ratio(law, x, chosen) for law in (self.prior, self.target))
        return tempered(theirs, mine, self.beta[..., None, None])

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Of binary sites, log-odds of token 1."""
        theirs, mine = (site_odds(law, x, chosen) for law in (self.prior, self.target))
        return tempered(theirs, mine, self.beta[..., None])


def tempered(prior: Float[Tensor, "*b"], target: Float[Tensor, "*b"], beta: Tensor) -> Float[Tensor, "*b"]:
    """(1 − β) prior + β target, where 0 · (±∞) is 0."""
    return (1 - beta) * prior + torch.where(beta == 0, 0.0, beta * target)


def log_states(target: DiscreteTarget) -> float:
    """log of the number of states, d log S."""
    return target.sites * math.log(target.states)


def exponents(values: Values, name: str, advice: str, start: bool = True) -> Float[Tensor, " k"]:
    """Numbers that rise to 1, from 0 with ``start``, float64. Raises UsageError, with advice, for others."""
    given = as_tensor(values, name, torch.float64)
    integers = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    found = floats(given.double() if integers else given, name, torch.float64)
    rising = found.ndim == 1 and len(found) > 1 and bool((found.diff() > 0).all())
    if not rising or found[-1] != 1 or found[0] < 0 or (start and found[0] != 0):
        raise UsageError(f"{name} must rise {'from 0 ' if start else ''}to 1, with at least 2 numbers; {advice}")
    return found


def check_prior(target: DiscreteTarget, prior: ProductPrior | None) -> ProductPrior:
    """The prior, uniform by default. Raises UsageError for one of other sites or states."""
    if prior is None:
        return uniform(target.sites, target.states)
    if (prior.sites, prior.states) != (target.sites, target.states):
        raise UsageError(
            f"the prior has {prior.sites} sites of {prior.states} states, the target {target.sites} of {target.states}"
        )
    return prior
