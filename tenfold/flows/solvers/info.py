"""What a sampling run did: the record that ``sample(..., return_info=True)`` returns."""

import math
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

_SUMMED = ("calls", "tokens", "sweeps", "repairs", "seconds")


@dataclass
class Certificate:
    """How far a result u is from solving u = v exp(a(u)) + m(u), by one more pass of the network.

    noise_error: max |v′ − v| with v′ the noise of the result.  residual: max |F(u) − u|.
    """

    noise_error: float
    residual: float


@dataclass
class BlockInfo:
    """The work on one block.

    Attributes:
        block: index in the direction data to noise; sampling starts at the last.
        solver: the solver that ran.
        guided: whether two branches ran.
        calls: network calls (two branches in one doubled batch are one call).
        tokens: tokens processed, summed over samples and branches.
        sweeps: fixed-point sweeps (steps, for the sequential solver).
        residual: the largest change in the last sweep of any sample; 0 for the sequential solver.
        converged: whether every sample met the tolerance (a capped solver may stop before).
        repairs: non-finite iterates replaced.
        fallback: why the sequential solver took over, and where; empty if it did not.
        certificate: see ``Certificate``; None where none was asked for.
        reason: why ``auto`` chose this solver; empty otherwise.
        seconds: time by the clock.
    """

    block: int
    solver: str
    guided: bool = False
    calls: int = 0
    tokens: int = 0
    sweeps: int = 0
    residual: float = 0.0
    converged: bool = True
    repairs: int = 0
    fallback: str = ""
    certificate: Certificate | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass
class SamplingInfo:
    """The work of a whole sampling run; ``blocks`` in sampling order."""

    samples: int
    solver: str
    exact: bool
    tol: float
    blocks: list[BlockInfo] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Network calls of all blocks."""
        return sum(block.calls for block in self.blocks)

    @property
    def tokens(self) -> int:
        """Tokens processed by all blocks."""
        return sum(block.tokens for block in self.blocks)

    @property
    def repairs(self) -> int:
        """Non-finite iterates that were replaced."""
        return sum(block.repairs for block in self.blocks)

    @property
    def fallbacks(self) -> int:
        """Blocks that the sequential solver finished."""
        return sum(bool(block.fallback) for block in self.blocks)

    @property
    def max_residual(self) -> float | None:
        """The largest certified residual; None where no block has a certificate."""
        residuals = [block.certificate.residual for block in self.blocks if block.certificate is not None]
        return max(residuals) if residuals else None

    def joined(self, other: "SamplingInfo") -> "SamplingInfo":
        """The record of this run and of one on further samples."""
        blocks = []
        for one, two in zip(self.blocks, other.blocks, strict=True):
            sums = {name: getattr(one, name) + getattr(two, name) for name in _SUMMED}
            certificate = one.certificate
            if certificate is not None and two.certificate is not None:
                pairs = zip(astuple(certificate), astuple(two.certificate), strict=True)
                certificate = Certificate(*(max(pair) for pair in pairs))
            blocks.append(
                replace(
                    one,
                    **sums,
                    residual=max(one.residual, two.residual),
                    converged=one.converged and two.converged,
                    fallback=one.fallback or two.fallback,
                    certificate=certificate,
                )
            )
        told = list(dict.fromkeys(self.warnings + other.warnings))
        return replace(self, samples=self.samples + other.samples, blocks=blocks, warnings=told)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary, totals included."""
        totals = {
            "calls": self.calls,
            "tokens": self.tokens,
            "repairs": self.repairs,
            "fallbacks": self.fallbacks,
            "max_residual": self.max_residual,
        }
        return _strict(asdict(self) | totals)


def _strict(value: Any) -> Any:
    """Numbers that JSON does not have, those of an overflow, as None."""
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
