"""The steps of a run: the particles' state, one step after another, and the trace that they leave."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tenfold.energy.composition.algebra import Composition
from tenfold.energy.composition.terms import Evaluated, Wanted
from tenfold.energy.feynman_kac import control as controls
from tenfold.energy.feynman_kac.asking import Asker
from tenfold.energy.feynman_kac.divergence import along, divergence, width_at
from tenfold.energy.feynman_kac.moves import adapted, mala, step_size
from tenfold.energy.feynman_kac.options import MoveOptions, ProposalOptions, ResamplingOptions, WeightOptions
from tenfold.energy.feynman_kac.randomness import Numbers
from tenfold.energy.feynman_kac.result import Swarm, Trace
from tenfold.energy.feynman_kac.steering import log_potential, unsteered
from tenfold.energy.feynman_kac.steps import (
    Affine,
    NoiseStep,
    ProposedStep,
    check_affine,
    exact_increment,
    proposal,
    shifted,
    twisted_increment,
)
from tenfold.errors import UsageError
from tenfold.smc.adaptive import Resampled, gather_particles, resample_where
from tenfold.smc.resampling import draw_ancestors, uniforms_of
from tenfold.smc.weights import effective_sample_size, log_mean_weight

_STEPS_BETWEEN_CHECKS = 16  # where looking at a number means to wait for the device


@dataclass(frozen=True)
class Course:
    """What a run follows: the target, its levels, and the options of each concern.

    Attributes:
        control: "none", "ecg" or "vcg".
        delta: δ of the "gaussian" proposal.
    """

    target: Composition
    sigma: Float[Tensor, " t1"]
    proposal: ProposalOptions
    weights: WeightOptions
    resampling: ResamplingOptions
    moves: MoveOptions
    control: str
    ridge: float
    delta: float

    @property
    def weighs_energies(self) -> bool:
        """Whether weights or moves read log densities."""
        kind, moves = self.weights.kind, self.moves
        moved = bool(moves.moves + moves.waste_free) and not moves.from_score
        return kind in ("exact", "telescoping", "escorted") or moved or self.control != "none"

    @property
    def in_parts(self) -> bool:
        """Whether what each model says is needed."""
        return (
            self.control != "none" or self.weights.kind in ("continuous", "telescoping") or self.proposal.kind == "base"
        )

    @property
    def twist(self) -> float:
        """How much of the rewards' ascent joins the score: half under control, which finds the rest, and none where
        weights take the models' own step for granted."""
        if self.weights.kind in ("telescoping", "steering"):
            return 0.0
        return self.proposal.twist if self.control == "none" else controls.HALF

    @property
    def euler(self) -> bool:
        """Whether particles follow the continuous dynamics and not a proposal."""
        return self.weights.kind in ("continuous", "escorted")

    def wanted(self, last: bool = False) -> Wanted:
        """What the target is asked for at every level; at the last one nobody needs a score but who moves, and soft
        constraints, which read the denoiser."""
        still = not self.moves.moves + self.moves.waste_free
        hard = all(getattr(one, "hard", True) for one in self.target.rewards)
        if last and still and hard and self.control == "none" and self.weights.kind in ("exact", "telescoping"):
            return "density"
        changing = self.weights.kind == "continuous" and any(callable(term.power) for term in self.target.terms)
        return "both" if self.weighs_energies or changing else "score"


class March:
    """A run under way."""

    def __init__(self, course: Course, ask: Asker, numbers: Numbers, theta: Float[Tensor, "t 1 k"] | None) -> None:
        self.course, self.ask, self.numbers, self.theta = course, ask, numbers, theta
        self.m, self.trace = len(numbers.populations), Trace()
        self.n = len(numbers.particles) // self.m
        self.sigma = course.sigma.to(numbers.populations.device)
        self.state: Swarm

    @property
    def particles(self) -> Shaped[Tensor, "m k *shape"]:
        """By population."""
        return self.state.x.unflatten(0, (self.m, self.n))

    def begin(
        self, x: Float[Tensor, "n *shape"], log_weights: Float[Tensor, "m k"] | None, log_q: Tensor | None
    ) -> None:
        """At the first level: weights γ/q of particles from a known density q, or those that are given."""
        course, sigma = self.course, self.sigma[0]
        known = (
            log_q is not None
            and course.target.all_energies
            and course.weights.kind not in ("twisted", "none", "steering")
        )
        wanted: Wanted = "both" if known else course.wanted()
        found = self.ask(x, sigma, False, wanted, course.in_parts)
        if log_weights is None:
            log_weights = x.new_zeros((self.m, self.n), dtype=torch.float64)
            if known:
                assert log_q is not None
                log_weights = (found.log_density - log_q).view(self.m, self.n)
            elif course.weights.kind == "twisted":
                assert found.reward is not None
                log_weights = found.reward.view(self.m, self.n).clone()
        roots = torch.arange(self.n, device=x.device).expand(self.m, self.n)
        scale = torch.full((self.m,), course.moves.step, dtype=torch.float64, device=x.device)
        self.state = Swarm(x, found, log_weights.double(), log_weights.new_zeros(self.m).double(), roots, scale)
        if course.weights.kind == "steering":
            self.state.steered = unsteered(self.state.log_weights, course.weights.potential)
        self.trace.log_path.append(log_mean_weight(self.state.log_weights))
        self._watch(0, log_weights, found)

    @torch.no_grad()
    def step(self, k: int) -> None:
        """From level k to k + 1: propose, weigh, resample, move."""
        span, last = NoiseStep(self.sigma[k], self.sigma[k + 1]), k + 2 == len(self.sigma)
        course = self.course
        theta = None if course.control == "none" else self._coefficients(k, span, last)
        moved, increment = self._proposed(k, span, last, theta)
        found = self.ask(moved.x_next, span.sigma_next, last, course.wanted(last), course.in_parts)
        increment = self._increment(moved, found, increment, last, theta)
        state = self.state
        state.x, state.found = moved.x_next, found
        increments = increment.view(self.m, self.n)
        state.log_weights = state.log_weights + increments
        self._watch(k + 1, state.log_weights, found)
        self.trace.log_path.append(state.log_z + log_mean_weight(state.log_weights))
        if course.moves.waste_free:
            self._resample_and_spread(k, span, last)
        else:
            self._resample(k, increments, last)
            for turn in range(course.moves.moves):
                self._move(k, turn, span, last)

    # --- propose and weigh --------------------------------------------------------------------------------------

    def _proposed(self, k: int, span: NoiseStep, last: bool, theta: Tensor | None) -> tuple[ProposedStep, Tensor]:
        """A step of every particle, and the part of its increment that is known where it begins."""
        course, state, found = self.course, self.state, self.state.found
        assert found.score is not None
        order = course.target.order(span.sigma)
        start = torch.zeros(len(state.x), dtype=torch.float64, device=state.x.device)
        if course.euler:
            square = course.weights.noise**2
            affine, up = Affine(span.v * (1 + square) / 2, span.v * square), span.v * square / 2
            start = span.v * self._rate(span, last, k)
        else:
            affine = proposal(course.proposal.kind, span, order, course.delta)
            if state.x.device.type == "cpu":
                check_affine(affine, span, course.proposal.kind, order)
            up = affine.pull * course.twist
        score = found.score
        if course.proposal.kind == "base" and found.scores is not None:
            score = found.scores[:, 0]
        mean = shifted(state.x, affine.pull, score)
        if found.ascent is not None:
            mean = shifted(mean, up, found.ascent)
        if theta is not None:
            mean = shifted(mean, affine.variance, controls.drift(found, state.x, theta))
        z = self.numbers.normal("step", k, course.target.shape)
        return ProposedStep(state.x, shifted(mean, affine.variance.sqrt(), z), z, affine, span), start

    def _rate(self, span: NoiseStep, last: bool, k: int) -> Tensor:
        """The log-weight rate of the continuous kinds per unit of v, where a step begins."""
        course, state = self.course, self.state
        if course.weights.kind == "continuous":
            return controls.total_rate(course.target, state.x, state.found, span, last)
        # Escorted: ∂ log γ/∂τ + ∇ · u + u · ∇ log γ with u = ½ s̄.
        found, target = state.found, course.target
        assert found.score is not None
        then = self.ask(state.x, span.sigma_next, last, "density")
        signs = self.numbers.signs("probe", k, target.shape) if course.weights.divergence == "probe" else None
        spread = divergence(
            lambda x: self._scores(x, span.sigma).sum(1), state.x, width_at(span.sigma, state.x.dtype),
            course.weights.divergence, signs,
        )  # fmt: skip
        flown = (found.score * found.full_score).flatten(1).double().sum(1)
        return (then.log_density - found.log_density) / span.v + (spread + flown) / 2

    def _scores(self, x: Tensor, sigma: Tensor) -> Tensor:
        """β_i s_i of every model, (n, k, ...)."""
        found = self.ask(x, sigma, False, "score", True)
        assert found.scores is not None
        powers = self.course.target.powers(sigma).to(x.dtype)
        return found.scores * powers.view(1, -1, *(1,) * (x.ndim - 1))

    def _increment(
        self, moved: ProposedStep, after: Evaluated, start: Tensor, last: bool, theta: Tensor | None
    ) -> Float[Tensor, " n"]:
        """log G of the step."""
        kind, before = self.course.weights.kind, self.state.found
        if kind == "exact":
            drift = None if theta is None else controls.drift(after, moved.x_next, theta)
            return exact_increment(moved, before.log_density, after.log_density, drift)
        if kind == "telescoping":
            assert before.logs is not None
            assert after.logs is not None
            return (after.log_density - after.logs[:, 0]) - (before.log_density - before.logs[:, 0])
        if kind == "twisted":
            assert before.reward is not None
            assert after.reward is not None
            assert before.ascent is not None
            return twisted_increment(moved, before.reward, after.reward, before.ascent, self.course.twist)
        if kind == "steering":
            assert after.reward is not None
            assert self.state.steered is not None
            rewards = after.reward.view(self.m, self.n)
            found, self.state.steered = log_potential(
                rewards, self.state.steered, self.course.weights.potential, 1.0, last
            )
            return found.flatten()
        return start

    # --- control ------------------------------------------------------------------------------------------------

    def _coefficients(self, k: int, span: NoiseStep, last: bool) -> Float[Tensor, "q k"]:
        """θ: of the pilot, or fitted to the particles as they are."""
        if self.theta is not None:
            self.trace.theta.append(self.theta[k])
            return self.theta[k]
        course, state = self.course, self.state
        bases = controls.bases_of(state.x, state.found, self.m)
        rates = controls.total_rate(course.target, state.x, state.found, span, last).view(self.m, self.n)
        if course.control == "ecg":
            fitted = controls.energy_control(state.log_weights, rates, bases, course.ridge)
        else:
            signs = self.numbers.signs("probe", k, course.target.shape)
            width = width_at(span.sigma, state.x.dtype)
            laplacians = along(lambda x: self._fields(x, span.sigma), state.x, signs, width)
            stein = controls.stein(state.found, bases, laplacians, course.target.dimensions)
            fitted = controls.variance_control(state.log_weights, rates, stein, course.ridge)
        self.trace.theta.append(fitted.theta)
        self.trace.failures.append(fitted.failures)
        return fitted.theta

    def _fields(self, x: Tensor, sigma: Tensor) -> Tensor:
        """s_i of every model, and the ascent of rewards, (n, k, ...)."""
        found = self.ask(x, sigma, False, "score", True)
        assert found.scores is not None
        return found.scores if found.ascent is None else torch.cat([found.scores, found.ascent[:, None]], 1)

    # --- resample and move --------------------------------------------------------------------------------------

    def _threshold(self, k: int, last: bool) -> float:
        """Below which share of particles this step resamples; 0 where it may not."""
        options = self.course.resampling
        late = options.last is not None and k > options.last
        return 0.0 if k < options.first or late or (last and not options.every_end) else options.threshold

    def _resample(self, k: int, increments: Float[Tensor, "m n"], last: bool) -> None:
        options, state = self.course.resampling, self.state
        threshold = self._threshold(k, last)
        if options.jump and threshold:
            done = self._jump(k, increments)
        else:
            uniforms = self.numbers.shared("resampling", k, uniforms_of(options.scheme, self.n))
            done = resample_where(state.log_weights, uniforms, threshold, options.scheme)
        state.x = self._gathered(state.x, done.ancestors)
        state.found = state.found.map(lambda value: self._gathered(value, done.ancestors))
        if state.steered is not None:
            state.steered = state.steered.chosen(done.ancestors)
        self._record(done)

    def _record(self, done: Resampled) -> None:
        state, trace = self.state, self.trace
        state.log_weights, state.log_z = done.log_weights, state.log_z + done.log_mean
        state.roots = state.roots.gather(1, done.ancestors)
        trace.ess.append(done.size)
        trace.resampled.append(done.mask)
        trace.ancestors.append(done.ancestors)

    def _jump(self, k: int, increments: Float[Tensor, "m n"]) -> Resampled:
        """Particles die at the rate (ḡ)⁻ of their rate less its mean, and are replaced in proportion to (ḡ)⁺: only poor
        ones are touched, and none carries a weight."""
        centred = increments - increments.mean(1, keepdim=True)
        uniforms = self.numbers.uniform("death", k).view(self.m, self.n)
        dies = uniforms < -torch.expm1(-(-centred).clamp(min=0))
        numbers = self.numbers.shared("resampling", k, self.n)
        heirs = draw_ancestors(centred.clamp(min=0).log(), numbers, "multinomial")
        ancestors = torch.where(dies, heirs, torch.arange(self.n, device=heirs.device))
        size = effective_sample_size(self.state.log_weights)
        return Resampled(ancestors, torch.zeros_like(increments), increments.mean(1), dies.any(1), size)

    def _gathered(self, values: Tensor, ancestors: Tensor) -> Tensor:
        return gather_particles(values.unflatten(0, (self.m, -1)), ancestors).flatten(0, 1)

    def _step_sizes(self, span: NoiseStep) -> Float[Tensor, " m"]:
        target = self.course.target
        return step_size(self.state.step_scale, span.sigma_next, target.order(span.sigma_next))

    def _moved(
        self, x: Tensor, found: Evaluated, name: str, k: int, span: NoiseStep, last: bool
    ) -> tuple[Tensor, Evaluated]:
        """One move of some particles of every population, the first numbers of which are theirs."""
        course, count = self.course, len(x) // self.m
        course_in_parts, wanted = course.in_parts, course.wanted()
        done = mala(
            lambda y: self.ask(y, span.sigma_next, last, wanted, course_in_parts),
            x,
            found,
            self._step_sizes(span).repeat_interleave(count),
            self.numbers.normal(f"{name} noise", k, course.target.shape, count),
            self.numbers.uniform(f"{name} acceptance", k, count),
            course.moves.from_score,
        )
        accepted = done.accepted.view(self.m, count)
        self.state.step_scale = adapted(self.state.step_scale, accepted, course.moves.acceptance)
        self.trace.acceptance.append(accepted.double().mean(1))
        return done.x, done.found

    def _move(self, k: int, turn: int, span: NoiseStep, last: bool) -> None:
        state = self.state
        state.x, state.found = self._moved(state.x, state.found, f"move {turn}", k, span, last)

    def _resample_and_spread(self, k: int, span: NoiseStep, last: bool) -> None:
        """Waste-free: N/P ancestors, and all states of the P − 1 moves of each, at every step that may resample.

        Were it done only where weights are uneven, kernels would depend on what they are applied to, and log Z be too
        small."""
        options, state, count = self.course.resampling, self.state, self.course.moves.waste_free
        few = self.n // count
        uniforms = self.numbers.shared("resampling", k, uniforms_of(options.scheme, few))
        size = effective_sample_size(state.log_weights)
        mask = torch.full_like(size, self._threshold(k, last) > 0, dtype=torch.bool)
        chosen = draw_ancestors(state.log_weights, uniforms, options.scheme, few)
        x, found = self._gathered(state.x, chosen), state.found.map(lambda value: self._gathered(value, chosen))
        places, said = [x], [found]
        for turn in range(count - 1):
            x, found = self._moved(x, found, f"move {turn}", k, span, last)
            places.append(x)
            said.append(found)
        each = mask.repeat_interleave(self.n)
        together = lambda parts: torch.stack([p.unflatten(0, (self.m, few)) for p in parts], 1).flatten(0, 2)  # noqa: E731
        spread = Evaluated(
            **{
                name: None if value is None else together([getattr(one, name) for one in said])
                for name, value in vars(found).items()
            }
        )
        state.x = torch.where(each.view(-1, *(1,) * (state.x.ndim - 1)), together(places), state.x)
        state.found = spread.where(each, state.found)
        same = torch.arange(self.n, device=chosen.device)
        ancestors = torch.where(mask[:, None], chosen.repeat(1, count), same)
        if state.steered is not None:
            state.steered = state.steered.chosen(ancestors)
        after = torch.where(mask[:, None], 0.0, state.log_weights)
        taken = torch.where(mask, log_mean_weight(state.log_weights), 0.0)
        self._record(Resampled(ancestors, after, taken, mask, size))

    # --- what goes wrong ----------------------------------------------------------------------------------------

    def _watch(self, level: int, log_weights: Float[Tensor, "m n"], found: Evaluated) -> None:
        """Count what is no weight; at once where that costs nothing, and otherwise now and then."""
        strange = (log_weights.isnan() | (log_weights == torch.inf)).sum()
        dead = (log_weights.amax(1) == -torch.inf).sum()
        spoiled = torch.zeros_like(strange) if found.reward is None else found.reward.isnan().sum()
        self.trace.bad.append((level, torch.stack([strange, dead, spoiled])))
        ends = level == len(self.sigma) - 1
        if log_weights.device.type == "cpu" or ends or level % _STEPS_BETWEEN_CHECKS == 0:
            self._raise_if_bad()
            self.trace.bad.clear()

    def _raise_if_bad(self) -> None:
        for level, counts in self.trace.bad:
            strange, dead, spoiled = map(int, counts)
            where = f"at step {level}, sigma = {float(self.sigma[level]):.4g}"
            if spoiled:
                raise UsageError(
                    f"a reward is NaN for {spoiled} of {self.m * self.n} particles {where}; it must be finite"
                )
            if strange:
                raise UsageError(
                    f"{strange} of {self.m * self.n} log weights are NaN or +infinity {where}; look at the energies of "
                    "the models there, and at rewards"
                )
            if dead:
                names = ", ".join(type(one).__name__ for one in self.course.target.rewards)
                of = f", under {names}" if names else ""
                raise UsageError(
                    f"{dead} population(s) died {where}{of}: every particle has weight 0; use more particles, more "
                    "steps, or a weaker constraint"
                )
