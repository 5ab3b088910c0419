"""The fixed point that every sampler solves.

A block's inverse is u_{j+1} = v_{j+1} exp(a_j) + m_j with (a_j, m_j) = net(u_0..u_j): N equations for the
N + 1 slots of a *chain* whose slot 0 is known (the first token, or a start token). ``ChainNetwork`` evaluates
(a, m) on windows of the chain behind the slots that are committed to its key-value caches, with guidance:
both branches run as one doubled batch. Solvers see nothing else of a block.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.block import Condition, Context, FlowBlock, scale_of
from tenfold.flows.guidance import Guidance
from tenfold.flows.solvers.info import BlockInfo
from tenfold.nn.attention import KeyValueCache
from tenfold.nn.precision import at_least_single


@dataclass(frozen=True)
class Branches:
    """The conditions of a batch as ``condition_weights`` gives them: with the condition and, where a block is
    guided, without. None for unconditional flows."""

    conditional: Condition | None
    unconditional: Condition | None = None

    @property
    def alike(self) -> bool:
        """Whether both have the same condition in every row, so that guidance changes nothing."""
        given, without = self.conditional, self.unconditional
        if isinstance(given, Tensor) and isinstance(without, Tensor):
            return given.shape == without.shape and bool(torch.equal(given, without))
        return given is None or without is None


class ChainNetwork:
    """(a, m) of windows of one block's chain for a batch of samples.

    ``guidance`` None runs the conditional branch alone. ``committed`` slots lie in the caches; ``evaluate``
    reads the slots behind them, and ``commit`` fixes the first of those last read.
    """

    def __init__(
        self, block: FlowBlock, branches: Branches, guidance: Guidance | None, batch: int, info: BlockInfo
    ) -> None:
        self.block, self.guidance, self.batch, self.info = block, guidance, batch, info
        self.steps = block.steps
        info.guided = guidance is not None
        like = block.proj_in.weight
        self.temperature: float | Tensor = 1.0
        self.condition = block.condition(branches.conditional)
        if guidance is not None:
            if self.condition is not None:
                self.condition = _stacked(self.condition, block.condition(branches.unconditional))
            self.strength = guidance.weights(max(self.steps, 1), at_least_single(like))
            if guidance.attn_temp != 1.0:
                self.temperature = like.new_ones(2 * batch)
                self.temperature[batch:] = guidance.attn_temp
        self.reset()

    @property
    def branch_rows(self) -> int:
        """Rows of the network's batch: samples times branches."""
        return self.batch if self.guidance is None else 2 * self.batch

    def reset(self) -> None:
        """Forget all committed slots."""
        self.caches: list[KeyValueCache] = self.block.begin(self.branch_rows, self.condition, self.temperature)
        self.committed = 0

    def evaluate(self, inputs: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b n d"] | None, Float[Tensor, "b n d"]]:
        """Guided (a, m) of the n slots behind the committed ones; nothing is committed."""
        count = inputs.shape[1]
        self.count(count)
        if self.guidance is not None:
            inputs = torch.cat([inputs, inputs])
        parameters = self.block.predict(inputs, self.committed, self.condition, self.caches, self.temperature)
        return self.guide(parameters, self.committed, count)

    def guide(
        self, parameters: tuple[Float[Tensor, "rows *d"] | None, Float[Tensor, "rows *d"]], start: int, count: int
    ) -> tuple[Float[Tensor, "b *d"] | None, Float[Tensor, "b *d"]]:
        """(a, m) of ``count`` slots of the samples from those of the branches."""
        if self.guidance is None:
            return parameters
        # In single precision at least: guidance takes differences of close numbers.
        log_scale, shift = (None if part is None else at_least_single(part) for part in parameters)
        assert shift is not None
        m_c, m_u = shift.chunk(2)
        a_c, a_u = (None, None) if log_scale is None else log_scale.chunk(2)
        return self.guidance.combine((a_c, m_c), (a_u, m_u), self.strength[start : start + count])

    def commit(self, count: int) -> None:
        """Fix the first ``count`` slots of the last evaluated window."""
        for cache in self.caches:
            cache.advance(count)
        self.committed += count

    def count(self, tokens: int, calls: int = 1) -> None:
        """Book the work of ``calls`` calls on ``tokens`` slots in all."""
        self.info.calls += calls
        self.info.tokens += self.branch_rows * tokens

    def rows(self, rows: Int64[Tensor, "r"]) -> "ChainNetwork":
        """The network of the samples ``rows``, with a copy of their committed slots."""
        part = ChainNetwork.__new__(ChainNetwork)
        part.__dict__.update(self.__dict__)
        part.batch = len(rows)
        all_rows = rows if self.guidance is None else torch.cat([rows, rows + self.batch])
        if self.condition is not None:
            part.condition = self.condition[all_rows]
        if isinstance(self.temperature, Tensor):
            part.temperature = self.temperature[all_rows]
        part.caches = [cache.rows(all_rows) for cache in self.caches]
        return part


def _stacked(first: Condition, second: Condition | None) -> Condition:
    """The prepared conditions of both branches as those of one doubled batch."""
    if isinstance(first, Context):
        assert isinstance(second, Context)
        if first.vectors.shape[1:] != second.vectors.shape[1:]:
            raise UsageError(
                f"the condition is a context of {first.vectors.shape[1]} tokens, the one to guide away from has "
                f"{second.vectors.shape[1]}; give contexts of equal length"
            )
        return Context(torch.cat([first.vectors, second.vectors]), first.rotary, first.images)
    assert isinstance(second, Tensor)
    return torch.cat([first, second])


def solve(
    noise: Float[Tensor, "*b d"], log_scale: Float[Tensor, "*b d"] | None, shift: Float[Tensor, "*b d"]
) -> Float[Tensor, "*b d"]:
    """u = v exp(a) + m, in the dtype of the noise."""
    if log_scale is None:
        return noise + shift
    return torch.addcmul(shift.to(noise.dtype), noise, scale_of(log_scale).to(noise.dtype))
