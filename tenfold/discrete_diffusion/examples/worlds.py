"""Post-training where the optimum is known: 64 sequences, every law exact.

Each method trains a table by its own sampled loss; the picture is the distance in total variation from the law that
the method is said to have as its optimum, over steps. What remains at the end is the optimiser's floor, except for the
methods that are approximate (a teacher's first order, a signed loss without a fixed point), which say so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tenfold.discrete.objectives import cross_entropy
from tenfold.discrete_diffusion.examples.tables import JointTable, TinyWorld, fit, kl, total_variation
from tenfold.discrete_diffusion.networks.tabular import TabularAutoregressive, TabularModel, number_of
from tenfold.discrete_diffusion.steering.ratio import ratio_loss
from tenfold.discrete_diffusion.targets.densities import (
    Energy,
    RewardTilt,
    Surrogate,
    mask_log_posterior,
    one_mask_each,
)
from tenfold.discrete_diffusion.targets.protocol import Target, all_candidates, choose_sites, matching_loss, site_target
from tenfold.discrete_diffusion.targets.teachers import ARTeacher
from tenfold.figures import bars, lines
from tenfold.rl.reference import gain, preference_loss
from tenfold.rl.rewards import group_weights, self_normalised, signed_loss
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome

BETA = 0.7
ROWS = 256


@dataclass(frozen=True)
class Found:
    """A curve of distances over steps, the law at the end, and the one that was aimed at."""

    steps: list[int]
    distance: list[float]
    law: Tensor
    goal: Tensor
    note: str


class WorkedWorlds:
    """The world, and the methods on it."""

    def __init__(self, steps: int, seed: int = 0) -> None:
        self.world, self.steps = TinyWorld.random(seed=seed), steps
        self.random = torch.Generator().manual_seed(seed + 1)
        self.reference = self.world.model(self.world.law).requires_grad_(False)

    def rewards(self, x: Tensor) -> Tensor:
        """R of sequences."""
        return self.world.reward[number_of(x, self.world.vocabulary)]

    def log_law(self, x: Tensor) -> Tensor:
        """log p of sequences, up to a constant."""
        return self.world.law.log()[number_of(x, self.world.vocabulary)] + 1.0

    def _factorised(
        self, model: TabularModel, loss: Callable[[], Tensor], goal: Tensor, rate: float, note: str
    ) -> Found:
        def distance() -> float:
            return total_variation(self.world.any_order_law(model), goal)

        steps, found = fit(model, loss, distance, self.steps, rate)
        return Found(steps, found, self.world.any_order_law(model), goal, note)

    def _bound(self, model: TabularModel, clean: Tensor) -> Tensor:
        """The bound on log p of each sequence at one noise."""
        noisy, weight = self.world.masked(clean, self.random)
        nll = torch.where(noisy == self.world.vocabulary, cross_entropy(model(noisy), clean), 0.0).sum(1)
        return -(weight * nll)

    # --- rewards ----------------------------------------------------------------------------------------------

    def reward_weighted(self) -> Found:
        """Reference samples weighted by e^{R/β}, noised: the cross entropy of the tilted law."""
        model = self.world.model(self.world.law)

        def loss() -> Tensor:
            clean = self.world.draw(self.world.law, ROWS, self.random)
            value, _ = self_normalised(self._bound(model, clean)[None], self.rewards(clean)[None], BETA)
            return value.mean()

        return self._factorised(model, loss, self.world.tilted(BETA), 0.05, "samples of the reference, weighted")

    def _joint(self, target: Target, goal: Tensor, note: str, count: int | None = None) -> Found:
        """A joint student against site targets, at all masked sites of x_0 that any x_t allows."""
        world, student = self.world, JointTable(self.world)

        def loss() -> Tensor:
            uniform = torch.full_like(world.law, 1 / len(world.law))
            clean = world.draw(uniform, ROWS, self.random)
            noisy, _ = world.masked(clean, self.random)
            # Half of the rows at pure noise, whose conditionals make the law that is measured.
            noisy[: ROWS // 2] = world.vocabulary
            active = noisy == world.vocabulary
            sites, real, share = choose_sites(active, 2, torch.rand(clean.shape, generator=self.random))
            if isinstance(target, ARTeacher) and count is not None:
                candidates = target.candidates(clean, sites, count)
            else:
                candidates = all_candidates(sites, world.vocabulary)
            wanted = site_target(target, clean, noisy, torch.full((ROWS,), 0.5), sites, candidates, world.source)
            at_sites = student(clean, noisy, sites)
            # The student's rows by chosen site, so that the loss finds them at places 0, 1, ...
            places = torch.arange(sites.shape[1]).expand_as(sites)
            token = clean.gather(1, sites)
            return matching_loss(at_sites, wanted, token, places, candidates, real, share).mean()

        def distance() -> float:
            return total_variation(student.law(), goal)

        steps, found = fit(student, loss, distance, self.steps, 0.1)
        return Found(steps, found, student.law(), goal, note)

    def reward_sites(self) -> Found:
        """Site targets p(y | x elsewhere) e^{R(y)/β}."""
        target = RewardTilt(Energy(self.log_law), self.rewards, BETA)
        return self._joint(target, self.world.tilted(BETA), "site targets with the reward added")

    def signed_groups(self) -> Found:
        """Groups of 8 completions, weights with a sign; the loss has no fixed point, the reward rises."""
        model = self.world.model(self.world.law)

        def loss() -> Tensor:
            with torch.no_grad():
                law = self.world.any_order_law(model).float()
            groups = ROWS // 8
            clean = self.world.draw(law, ROWS, self.random)
            weights = group_weights(self.rewards(clean).view(groups, 8), policy=4.0)
            value, _ = signed_loss(self._bound(model, clean).view(groups, 8), weights, clip=20.0)
            return value.mean()

        return self._factorised(
            model, loss, self.world.tilted(BETA), 0.02, "signed weights of groups of 8: no fixed point"
        )

    # --- preferences --------------------------------------------------------------------------------------------

    def preferences(self) -> Found:
        """Bradley-Terry pairs of reference samples; the bound, averaged over 32 noises, in place of the likelihood."""
        world, model, beta, noises, rows = self.world, self.world.model(self.world.law), 1.0, 32, 64

        def loss() -> Tensor:
            first, second = (world.draw(world.law, rows, self.random) for _ in range(2))
            wins = torch.rand(rows, generator=self.random) < (self.rewards(first) - self.rewards(second)).sigmoid()
            winner, loser = (torch.where(w[:, None], first, second) for w in (wins, ~wins))
            # One pattern of masks for the four terms of a pair.
            pattern, weight = world.masked(winner.repeat_interleave(noises, 0), self.random)
            masked = pattern == world.vocabulary
            rises = []
            for clean in (winner, loser):
                repeated = clean.repeat_interleave(noises, 0)
                noisy = torch.where(masked, world.vocabulary, repeated)
                rises.append(gain(model(noisy), self.reference(noisy), repeated, masked, weight).view(rows, noises))
            return preference_loss(rises[0], rises[1], beta)[0].mean()

        note = "preferences: the optimum of the likelihood, approached by a bound"
        return self._factorised(model, loss, world.tilted(beta), 0.02, note)

    # --- density ratios -------------------------------------------------------------------------------------------

    def ratio(self, name: str) -> Found:
        """log r(x_0, x_t) as a table against draws of the factorised reference: p_ref r is the joint posterior."""
        world = self.world
        log_ratio = JointTable(world)
        marginal = self.reference(world.noisy)
        log_reference = torch.stack([marginal[:, i, world.clean[:, i]] for i in range(world.length)]).sum(0)

        def loss() -> Tensor:
            clean = world.draw(world.law, ROWS, self.random)
            noisy, _ = world.masked(clean, self.random)
            noisy[: ROWS // 2] = world.vocabulary
            rows = number_of(noisy, world.vocabulary + 1)
            drawn = torch.multinomial(log_reference[rows].exp(), 8, replacement=True, generator=self.random)
            data = log_ratio.table[rows, number_of(clean, world.vocabulary)]
            return ratio_loss(data, log_ratio.table[rows[:, None], drawn], name).mean()  # type: ignore[arg-type]

        def law() -> Tensor:
            return (log_reference[-1] + log_ratio.table[-1].detach()).double().softmax(0)

        steps, found = fit(log_ratio, loss, lambda: total_variation(law(), world.law), self.steps, 0.05)
        return Found(steps, found, law(), world.law, "one step from pure noise, corrected by the ratio")

    # --- densities and teachers -----------------------------------------------------------------------------------

    def data_free(self) -> Found:
        """p̄ evaluated on random completions; no sample of p."""
        world, model = self.world, self.world.model()

        def loss() -> Tensor:
            uniform = torch.full_like(world.law, 1 / len(world.law))
            noisy, _ = world.masked(world.draw(uniform, 64, self.random), self.random)
            sites = torch.arange(world.length).expand_as(noisy)
            which = torch.rand(64, 64, world.length, generator=self.random)
            wanted, _ = mask_log_posterior(self.log_law, noisy, sites, world.source, which)
            real, ones = noisy == world.vocabulary, torch.ones(64)
            candidates = all_candidates(sites, world.vocabulary)
            return matching_loss(model(noisy), wanted, noisy, sites, candidates, real, ones).mean()

        return self._factorised(model, loss, world.law, 0.05, "no samples: completions weighted by the density")

    def distilled(self, method: str) -> Found:
        """Site targets of an autoregressive teacher, or of a masked surrogate."""
        world = self.world
        teacher = TabularAutoregressive.of_law(world.law, world.vocabulary, world.length)
        targets: dict[str, tuple[Target, int | None, str]] = {
            "exact": (ARTeacher(teacher), None, "all suffixes read"),
            "top-2": (ARTeacher(teacher), 2, "two best candidates and the token"),
            "first order": (ARTeacher(teacher, "first_order"), None, "one gradient: approximate"),
            "surrogate": (Surrogate(one_mask_each(self.reference)), None, "a masked model's conditionals"),
        }
        target, count, note = targets[method]
        return self._joint(target, world.law, note, count)


def tcsm_worlds(figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None) -> Outcome:
    """The example "tcsm-worlds"."""
    worked = WorkedWorlds(300 if quick else 1500)
    methods: dict[str, Callable[[], Found]] = {
        "reward, weighted samples": worked.reward_weighted,
        "reward, site targets": worked.reward_sites,
        "reward, signed groups": worked.signed_groups,
        "preferences": worked.preferences,
        **{f"ratio, {name}": (lambda n=name: worked.ratio(n)) for name in ("lsif", "bce", "generalised_kl")},  # type: ignore[misc]
        "density without data": worked.data_free,
        **{
            f"distilled, {name}": (lambda n=name: worked.distilled(n))  # type: ignore[misc]
            for name in ("exact", "top-2", "first order", "surrogate")
        },
    }
    found: dict[str, Found] = {}
    for number, (name, method) in enumerate(methods.items()):
        found[name] = method()
        progress((number + 1) / len(methods))
    rows, rewards = [], {"reference": float(worked.world.law @ worked.world.reward)}
    for name, one in found.items():
        start, end = one.distance[0], one.distance[-1]
        rows.append(Measurement("total_variation_start", start, "", "exact", name))
        rows.append(Measurement("total_variation", end, "", "exact", name, note=one.note))
        rows.append(Measurement("kl_from_goal", kl(one.goal, one.law), "nats", "exact", name))
        if name.startswith(("reward", "preferences")):
            mean = float(one.law @ worked.world.reward.double())
            rewards[name] = mean
            rows.append(Measurement("mean_reward", mean, "", "exact", name))
            rows.append(Measurement("kl_from_reference", kl(one.law, worked.world.law), "nats", "exact", name))
    rows.append(Measurement("mean_reward", rewards["reference"], "", "exact", "reference"))
    optimum = float(worked.world.tilted(BETA) @ worked.world.reward)
    rows.append(Measurement("mean_reward", optimum, "", "exact", "optimum", note=f"p e^(R/{BETA})"))
    captions = {}
    for title, names in (
        ("rewards", [n for n in found if n.startswith(("reward", "preferences"))]),
        ("ratios-and-density", [n for n in found if n.startswith(("ratio", "density"))]),
        ("distillation", [n for n in found if n.startswith("distilled")]),
    ):
        series = {name: (found[name].steps, [max(d, 1e-4) for d in found[name].distance]) for name in names}
        path = lines(series, figures / f"{title}.png", "step", "total variation from the goal", log=(False, True))
        captions[path.name] = f"Distance from the law that each method aims at, {title.replace('-', ' ')}."
    path = bars(list(rewards), list(rewards.values()), figures / "mean-reward.png", "mean reward, exact")
    captions[path.name] = f"Mean reward of the trained laws; the optimum at β = {BETA} has {optimum:.3f}."
    return Outcome(rows, captions, {"system": "tcsm", "beta": BETA, "steps": worked.steps})
