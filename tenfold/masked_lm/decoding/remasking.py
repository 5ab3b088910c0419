"""ReMDM (arXiv 2503.00307): revealed tokens may return to the mask, which buys quality for passes.

From time t to s < t, with revealed shares α_t ≤ α_s: a revealed token goes back with probability σ; a mask is revealed
with (α_s − (1 − σ) α_t) / (1 − α_t). σ lies in [0, min(1, (1 − α_s) / α_t)]; σ = 0 is the plain reverse process.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.masked_lm.decoding.proposals import Uniforms
from tenfold.masked_lm.decoding.strategies import Drawn, Moment, Strategy, spread


def largest_sigma(alpha_t: float, alpha_s: float) -> float:
    """min(1, (1 − α_s) / α_t)."""
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


def alpha(time: float, kind: str, loop: tuple[float, float, float]) -> float:
    """Revealed share at a time in [0, 1], linear; for kind "loop" it is held at ``loop[2]`` for times between
    ``loop[0]`` and ``loop[1]`` and linear on both sides."""
    if kind != "loop":
        return 1 - time
    on, off, held = loop
    if time > on:
        return held * (1 - time) / (1 - on)
    return held if time >= off else held + (1 - held) * (off - time) / off


def sigmas(
    kind: str,
    eta: float,
    t: float,
    s: float,
    loop: tuple[float, float, float],
    probability: Float[Tensor, "B N"],
    revealed: Bool[Tensor, "B N"],
) -> Float[Tensor, "B N"]:
    """σ of every position; of masks too, which it makes up for what goes back.

    "cap": min(η, σ_max); "rescale": η σ_max; "confidence": η σ_max softmax(−ψ) over the revealed positions, ψ the
    probability a token had when it was revealed, and 0 at masks; "loop": η σ_max within the loop's times, else 0."""
    limit = largest_sigma(alpha(t, kind, loop), alpha(s, kind, loop))
    if kind == "confidence":
        scores = (-probability.to(torch.float64)).masked_fill(~revealed, -torch.inf)
        return torch.nan_to_num(scores.softmax(dim=1)) * eta * limit
    value = min(eta, limit) if kind == "cap" else eta * limit
    if kind == "loop" and not (t <= loop[0] and s >= loop[1]):
        value = 0.0
    return torch.full(probability.shape, value, dtype=torch.float64, device=probability.device)


def reveal_probability(alpha_t: float, alpha_s: float, sigma: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """(α_s − (1 − σ) α_t) / (1 − α_t)."""
    return ((alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)).clamp(0, 1)


@dataclass(frozen=True)
class ReMDM(Strategy):
    """ReMDM as a rule: what is revealed, and what goes back to the mask, is drawn ahead of each pass; the last step
    reveals everything. ``sigma`` is a kind of ``sigmas``."""

    settles: ClassVar[bool] = False
    sigma: str = "cap"
    eta: float = 0.1
    loop: tuple[float, float, float] = (0.55, 0.05, 0.9)

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn:
        """Draw both."""
        canvas, masks, step = moment.canvas, moment.masks, moment.step
        revealed = canvas.maskable & ~masks
        numbers = uniforms.reveals(canvas.step, int(masks.sum()), masks.device).double()
        if step == len(moment.taus) - 2:
            return Drawn(masks)
        t, s = float(moment.taus[step]), float(moment.taus[step + 1])
        alpha_t, alpha_s = (alpha(time, self.sigma, self.loop) for time in (t, s))
        sigma = sigmas(self.sigma, self.eta, t, s, self.loop, canvas.probability, revealed)
        shown = spread(numbers, masks, 2.0) < reveal_probability(alpha_t, alpha_s, sigma)
        if not self.eta:
            return Drawn(shown)
        return Drawn(shown, revealed & (uniforms.uniform(masks.shape, masks.device) < sigma))
