"""Guidance: extrapolating a conditional flow away from its unconditional branch, token by token.

Every token is Gaussian given the earlier ones, N(m, exp(a)²), once with the condition (c) and once without
(u).

* Rule "tarflow" (arXiv 2412.06329, section 3.5): a_c + g (a_c − a_u) and m_c + g (m_c − m_u).
* Rule "starflow" (arXiv 2506.06276, section 3.4): where s_u ≥ s_c, the normalised tilt p_c^(1+g) / p_u^g, which is
  Gaussian. Where s_u < s_c that need not be normalisable, and s_u is raised to s_c: the tilt away from a wider
  Gaussian, another law than that of p_u even where there is one.

Either rule tilts each token given the earlier ones. The law of an image is the product of these, and not the tilt of
the joint densities, whose conditionals depend on how the tilts of later tokens normalise.

Here g = 0 is no guidance. Papers that write m_u + γ (m_c − m_u) have γ = 1 + g.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.flows.block import Condition
from tenfold.settings.values import read

# Strings are checked here and not by their types, so that a misspelt one gets a sentence.
Blocks = str | int | np.integer | Sequence[int] | np.ndarray

RULES = ("tarflow", "starflow")
PARTS = ("ab", "a", "b")
SCHEDULES = ("const", "linear")


@dataclass(frozen=True)
class Guidance:
    """How sampling is guided.

    Attributes:
        weight: g ≥ 0; 0 is none.
        rule: "tarflow" or "starflow" (see the module); None for that of the flow's family.
        what: what rule "tarflow" extrapolates: "ab" both, "a" the log-scale only, "b" the shift only.
        schedule: "const", or "linear": g (t + 1) / N at step t of N, so that the last step has g itself.
        blocks: "all", "top" (the first sampled), a count of first sampled blocks, or a list of sampled-block
            indices (0 is sampled first). Other blocks run the conditional branch alone.
        attn_temp: τ > 0; the unconditional branch divides its attention logits by it, which is what guides a
            model without classes.
        unconditional: what to guide away from: a condition, None for no condition.
    """

    weight: float = 0.0
    rule: str | None = None
    what: str = "ab"
    schedule: str = "const"
    blocks: Blocks = "all"
    attn_temp: float = 1.0
    unconditional: Condition | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if any(isinstance(value, bool) or not isinstance(value, Real) for value in (self.weight, self.attn_temp)):
            raise UsageError(f"weight is {self.weight!r} and attn_temp {self.attn_temp!r}; give numbers")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise UsageError(f"guidance is {self.weight}; give a weight of at least 0 (0 is no guidance)")
        if not (math.isfinite(self.attn_temp) and self.attn_temp > 0):
            raise UsageError(f"attn_temp is {self.attn_temp}; an attention temperature must be above 0")
        for name, value, choices in (
            ("rule", self.rule or RULES[0], RULES),
            ("what", self.what, PARTS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in choices:
                raise UsageError(f"{name} is {value!r}, which is no guidance {name}{suggest(str(value), choices)}")
        if self.rule == "starflow" and self.what != "ab":
            raise UsageError(
                f"what is {self.what!r}, but rule 'starflow' sets mean and scale together; use what='ab' or "
                "rule='tarflow'"
            )

    def of(self, rule: str) -> "Guidance":
        """The same, with ``rule`` where none is set."""
        return self if self.rule else replace(self, rule=rule)

    def guided_blocks(self, count: int) -> frozenset[int]:
        """The sampled-block indices that are guided, of ``count`` blocks; empty at weight 0."""
        chosen: Iterable[int]
        if isinstance(self.blocks, str):
            if self.blocks not in ("all", "top"):
                raise UsageError(
                    f"blocks is {self.blocks!r}; give 'all', 'top', a count, or a list of sampled-block indices"
                )
            chosen = range(count) if self.blocks == "all" else range(1)
        elif isinstance(self.blocks, Sequence | np.ndarray):
            chosen = read(tuple[int, ...], list(self.blocks), "blocks")
            if wrong := [k for k in chosen if not 0 <= k < count]:
                raise UsageError(f"block {wrong[0]} cannot be guided; sampled blocks are numbered 0 to {count - 1}")
        else:
            first = read(int, self.blocks, "blocks")
            if not 0 <= first <= count:
                raise UsageError(f"blocks is {first}, but the flow has {count} blocks to guide")
            chosen = range(first)
        return frozenset(chosen) if self.weight else frozenset()

    def weights(self, steps: int, like: Tensor) -> Float[Tensor, "n 1"]:
        """g of each of ``steps`` network outputs, in the dtype and on the device of ``like``."""
        constant = like.new_full((steps, 1), self.weight)
        if self.schedule == "const":
            return constant
        ramp = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        return constant * ramp.unsqueeze(1).to(constant)

    def combine(
        self,
        conditional: tuple[Tensor | None, Tensor],
        unconditional: tuple[Tensor | None, Tensor],
        weight: Tensor,
    ) -> tuple[Tensor | None, Tensor]:
        """(a, m) guided by ``weight`` (broadcast) from those of the two branches; a is None at unit scale."""
        (a_c, m_c), (a_u, m_u) = conditional, unconditional
        if self.rule == "starflow":
            return starflow_rule(a_c, m_c, a_u, m_u, weight)
        # lerp(u, c, 1 + g) = c + g (c - u): one kernel.
        scale, shift = a_c, m_c
        if "a" in self.what and a_c is not None and a_u is not None:
            scale = torch.lerp(a_u, a_c, 1.0 + weight)
        if "b" in self.what:
            shift = torch.lerp(m_u, m_c, 1.0 + weight)
        return scale, shift


def parse_blocks(text: str) -> str | int | list[int]:
    """ "all", "top", "3" (the first three sampled blocks) or "0,2" (their indices) as sampling takes it."""
    if text in ("all", "top"):
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"blocks is {text!r}; give all, top, a number of blocks, or comma-separated block numbers"
        ) from None
    return numbers if "," in text else numbers[0]


def starflow_rule(
    a_c: Tensor | None, m_c: Tensor, a_u: Tensor | None, m_u: Tensor, weight: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Log-scale and mean of N(m_c, e^2a_c)^(1+g) / N(m_u, max(e^a_u, e^a_c)²)^g, normalised.

    With r = min(s_c / s_u, 1)² and q = 1 + g − g r ≥ 1: m = m_c + (g r / q)(m_c − m_u), s = s_c / √q.
    Log-scales of None stand for unit scales."""
    if a_c is None or a_u is None:
        return a_c, m_c + weight * (m_c - m_u)
    ratio = (2.0 * (a_c - a_u)).clamp(max=0.0).exp()
    excess = weight * (1.0 - ratio)
    mean = m_c + (weight * ratio / (1.0 + excess)) * (m_c - m_u)
    return a_c - 0.5 * torch.log1p(excess), mean
