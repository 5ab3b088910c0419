"""Noise for batches in training, keyed by the sample: of any kind for training from data, masks for all that steers;
and the training objectives by name, on a model's outputs: pure functions of tensors."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tenfold.discrete import bounds
from tenfold.discrete import objectives as tcsm
from tenfold.discrete.masking import mask_exactly, stratified
from tenfold.discrete.paths import MaskSource, Source, View, in_view
from tenfold.discrete.schedules import noise_share, time_of
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.model import schedule_of, source_of
from tenfold.discrete_diffusion.options import DiffusionObjective
from tenfold.errors import UsageError
from tenfold.training.streams import Draws


class NoisyBatch(NamedTuple):
    """x_0, x_t, t, and of each row α and the rate −dα/dt that weigh its loss."""

    clean: Int[Tensor, "b n"]
    noisy: Int[Tensor, "b n"]
    time: Float[Tensor, " b"]
    alpha: Float[Tensor, " b"]
    rate: Float[Tensor, " b"]

    def rows(self, which: Bool[Tensor, "b n"]) -> "NoisyBatch":
        """Each of the chosen tokens as a row of one."""
        row, _ = which.nonzero(as_tuple=True)
        of_row = (self.time[row], self.alpha[row], self.rate[row])
        return NoisyBatch(self.clean[which][:, None], self.noisy[which][:, None], *of_row)

    def part(self, which: Int[Tensor, " k"]) -> "NoisyBatch":
        """Some of the rows."""
        return NoisyBatch(*(values[which] for values in self))


class Noise:
    """``noise(clean, index, draws)``: what training from data sees of a batch, as its objective draws times.

    Times are spread over a batch of ``batch`` samples. Where the number of masks is drawn, α and the rate are such that
    the weight of the bound, rate / (1 − α), is L / l."""

    def __init__(self, config: DiffusionConfig, settings: DiffusionObjective, batch: int) -> None:
        self.source, self.schedule, self.settings, self.batch = source_of(config), schedule_of(config), settings, batch

    def __call__(self, clean: Int[Tensor, "b n"], index: Int[Tensor, " b"], draws: Draws) -> NoisyBatch:
        """The batch with its noise."""
        settings, source, n = self.settings, self.source, clean.shape[1]
        whether, which = (draws.uniform(purpose, index, (n,)) for purpose in ("noise", "tokens"))
        if settings.times == "uniform":
            places = draws.uniform("time", index)
        else:
            offset = draws.uniform("time-offset", torch.zeros_like(index[:1]))
            places = stratified(offset, index, self.batch)
        if settings.times == "count":
            assert isinstance(source, MaskSource)  # options made sure
            count = (1 + (places * settings.latest * n).long()).clamp(max=n)
            hidden = mask_exactly(torch.ones_like(clean, dtype=torch.bool), count, whether)
            time, weight = time_of(self.schedule, 1 - count / n), n / count
            return NoisyBatch(
                clean, torch.where(hidden, source.mask, clean), time, 1 - 1 / weight, torch.ones_like(weight)
            )
        time = settings.latest - (settings.latest - settings.epsilon) * places
        # In float64: near α = 1 the weight of the bound, rate / (1 − α), is a ratio of small differences.
        exact = time.double()
        alpha, rate = 1 - noise_share(self.schedule, exact), -self.schedule.alpha_prime(exact)
        return NoisyBatch(clean, source.noise(clean, alpha, whether, which), time, alpha, rate)


class Masked(NamedTuple):
    """x_t, where its masks are, and L / l, the weight of the bound: L tokens may be masked and l are."""

    noisy: Int[Tensor, "b n"]
    hidden: Bool[Tensor, "b n"]
    weight: Float[Tensor, " b"]

    @property
    def alpha(self) -> Float[Tensor, " b"]:
        """The share of tokens that stand, 1 − l / L."""
        return 1 - 1 / self.weight


class Masks:
    """Masks of a batch, and what a network says of them: the one object that every way of steering is composed over.

    ``masks(clean, index, draws)`` hides l of the L tokens of a row, l spread evenly over a batch of ``batch`` samples;
    ``predict`` asks the network that is trained and ``frozen`` one that is not, at the time at which as many are.

    Raises UsageError for a model of another source, or of scores."""

    def __init__(self, config: DiffusionConfig, batch: int) -> None:
        source = source_of(config)
        if not isinstance(source, MaskSource) or config.output != "probabilities":
            raise UsageError("post-training is for masked models of probabilities; set --model.source mask")
        self.source, self.schedule, self.batch = source, schedule_of(config), batch

    def __call__(
        self, clean: Int[Tensor, "b n"], index: Int[Tensor, " b"], draws: Draws, purpose: str = "noise"
    ) -> Masked:
        """The rows with masks, keyed by the sample and the ``purpose``."""
        hidden, weight = self.places(index, clean.shape[1], draws, purpose)
        return Masked(self.put(clean, hidden), hidden, weight)

    def places(
        self, index: Int[Tensor, " b"], length: int, draws: Draws, purpose: str = "noise", given: int = 0
    ) -> tuple[Bool[Tensor, "b n"], Float[Tensor, " b"]]:
        """Where masks go in rows of ``length`` tokens, the first ``given`` of which stay, and L / l of each row."""
        free = (torch.arange(length, device=index.device) >= given).expand(len(index), -1)
        offset = draws.uniform(f"{purpose}-offset", torch.zeros_like(index[:1]))
        count = (1 + (stratified(offset, index, self.batch) * (length - given)).long()).clamp(max=length - given)
        return mask_exactly(free, count, draws.uniform(purpose, index, (length,))), (length - given) / count

    def put(self, clean: Int[Tensor, "b n"], hidden: Bool[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """x_t with masks at given places."""
        return torch.where(hidden, self.source.mask, clean)

    def predict(
        self, network: nn.Module, noisy: Int[Tensor, "b n"], hidden: Bool[Tensor, "b n"], *, masks_only: bool = False
    ) -> Tensor:
        """log p(x_0^i | x_t) at all tokens, (b, n, V), or at the masks alone, (k, V): the head then runs on no more."""
        # The time at which as many tokens are masked.
        time = time_of(self.schedule, 1 - 1 / (noisy.shape[1] / hidden.sum(1).clamp(min=1)))
        found: Tensor = network(noisy, time, hidden if masks_only else None)
        return found

    @torch.no_grad()
    def frozen(
        self, network: nn.Module, noisy: Int[Tensor, "b n"], hidden: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b n v"]:
        """The same of a network that is not trained, at all tokens; it follows the batch to its device."""
        return self.predict(network.to(noisy.device), noisy, hidden)


def losses(
    objective: DiffusionObjective,
    outputs: Float[Tensor, "b n k"],
    batch: NoisyBatch,
    source: Source,
    view: View,
    uniforms: Float[Tensor, "b n m"] | None = None,
) -> Float[Tensor, "b n"]:
    """The objective at each token, in nats, weighted; the active tokens count, and the caller takes their mean.

    ``outputs`` are log-probabilities of the ``view``, or log-ratios for "sedd": of all tokens, (b, n, V), or of chosen
    ones as rows of one token each, (k, 1, V), as is the batch then. ``uniforms`` are U[0, 1) numbers for the drawn
    entropy term."""
    name, clean, noisy = objective.loss, batch.clean, batch.noisy
    alpha, rate = batch.alpha.double(), batch.rate.double()
    if name == "sedd":
        return bounds.score_entropy(outputs, clean, noisy, alpha, rate, source)
    if name == "mdlm":
        assert isinstance(source, MaskSource)  # options made sure
        return bounds.masked(outputs, clean, noisy, alpha, rate, source)
    if name == "udlm":
        return bounds.uniform(outputs, clean, noisy, alpha, rate, view)
    if name == "d3pm":
        before = (alpha + rate / objective.steps).clamp(max=1.0)
        return bounds.finite_steps(outputs, clean, noisy, before, alpha, objective.steps, source)
    posterior = in_view(outputs, noisy, alpha, source, view, "posterior")
    if name == "flow_matching":
        return bounds.generalised_kl(posterior, clean, noisy, alpha, rate, source)
    if name == "distribution":
        value = tcsm.cross_entropy(posterior, clean)
    elif uniforms is not None:
        drawn = tcsm.sampled_entropy_term(posterior, uniforms, objective.cap)
        value = tcsm.pseudo_likelihood(posterior, clean, objective.cap) + drawn
    else:
        # Per token of the vocabulary, so that its size is that of a cross entropy.
        size = posterior.shape[-1]
        value = tcsm.score_form_from_data(posterior, clean, objective.divergence, objective.cap) / size
    return value if objective.weight == "flat" else value * (rate / (1 - alpha)).to(value)[:, None]


def mean_loss(
    objective: DiffusionObjective,
    values: Tensor,
    active: Bool[Tensor, "..."],
    tokens: int,
    count: Float[Tensor, ""] | Int[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """What training minimises: the mean of the losses over all ``tokens`` where they carry the bound's weight, else
    over the active ones (``count``, if their number is that of a larger whole)."""
    total = torch.where(active, values, 0.0).sum()
    weighted = objective.loss not in ("distribution", "score") or objective.weight == "bound"
    return total / tokens if weighted else total / (active.sum().clamp(min=1) if count is None else count)
