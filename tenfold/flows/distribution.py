"""A flow where a ``torch.distributions.Distribution`` is expected: posteriors, variational families, simulators."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Shaped
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from tenfold.errors import UsageError
from tenfold.flows.density import log_prob
from tenfold.flows.flow import Flow
from tenfold.flows.solvers.reverse import rsample
from tenfold.nn.border import Values, as_tensor
from tenfold.settings.values import read

Shape = Sequence[Any]
"""Sizes of axes."""


class FlowDistribution(Distribution):
    """p(x | condition) of a flow with ``event_shape`` that of x, in the flow's own scale. ``batch_shape`` is that of
    the condition without its last axis for vectors and mixtures (a label has no axis of its own): (b,) for b labels,
    () for one or none.

    Samples depend on ``torch.manual_seed`` alone; those of ``rsample`` are differentiable in the flow's parameters and
    a floating condition (``tenfold.flows.rsample``). Gradients of ``log_prob`` reach x, the parameters and the
    condition.

    >>> from tenfold.tarflow import TarFlow, TarFlowConfig
    >>> posterior = FlowDistribution(TarFlow(TarFlowConfig(shape=(1, 8, 8), classes=10)), torch.tensor([3, 5]))
    >>> draws = posterior.sample((5,))
    >>> posterior.batch_shape, draws.shape, posterior.log_prob(draws).shape
    (torch.Size([2]), torch.Size([5, 2, 1, 8, 8]), torch.Size([5, 2]))

    Args:
        flow: of images or vectors, with or without a condition of labels, class mixtures or vectors.
        condition: as the flow takes it, with any number of axes before; None for none.
        validate_args: whether ``log_prob`` checks the shape of its value (PyTorch's own default: yes).

    Raises:
        UsageError: a condition that does not fit the flow, or a flow of any shape.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, flow: object, condition: Values | None = None, validate_args: bool | None = None) -> None:
        if not isinstance(flow, Flow):
            raise UsageError(f"the flow is {type(flow).__name__}; give a TarFlow or a StarFlow")
        self.flow = flow
        self._given = None if condition is None else as_tensor(condition, "the condition", flow.precision)
        batch = () if self._given is None else self._given.shape[: self._given.ndim - self._own_axes]
        self._weights(self._rows(Size(batch), max(1, Size(batch).numel())))  # refuses what does not fit
        super().__init__(Size(batch), Size(flow.config.shape), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """All of the space."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Shape, _instance: Any = None) -> "FlowDistribution":
        """The same with its condition repeated to ``batch_shape``; without one, independent copies."""
        new = self._get_checked_instance(FlowDistribution, _instance)
        shape = _sizes(batch_shape, "batch_shape")
        new.flow, new._given = self.flow, self._given
        if self._given is not None:
            own = self._given.shape[self._given.ndim - self._own_axes :]
            new._given = self._given.expand(shape + own)
        elif torch.broadcast_shapes(self.batch_shape, shape) != shape:
            raise UsageError(f"a batch of shape {tuple(self.batch_shape)} cannot be expanded to {tuple(shape)}")
        super(FlowDistribution, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def condition(self, condition: Values | None) -> "FlowDistribution":
        """The flow's distribution under another condition."""
        return FlowDistribution(self.flow, condition, self._validate_args)

    def sample(self, sample_shape: Shape = ()) -> Shaped[Tensor, "..."]:
        """Draws (*sample_shape, *batch_shape, *event_shape) without gradients."""
        with torch.no_grad():
            count, shape = self._asked(sample_shape)
            if not count:
                return self.flow.var.new_zeros(shape, dtype=self.flow.precision)
            return self.flow.sample(count, self._rows(self.batch_shape, count)).reshape(shape)

    def rsample(self, sample_shape: Shape = ()) -> Shaped[Tensor, "..."]:
        """Draws of the same shape with first derivatives in the parameters and a floating condition."""
        count, shape = self._asked(sample_shape)
        if not count:
            return self.flow.var.new_zeros(shape, dtype=self.flow.precision)
        return rsample(self.flow, count, self._rows(self.batch_shape, count)).reshape(shape)

    def log_prob(self, value: Values) -> Shaped[Tensor, "..."]:
        """log p(value | condition) in nats, summed over the event: value (*any, *batch_shape, *event_shape) or what
        broadcasts to it, to (*any, *batch_shape)."""
        x = as_tensor(value, "the value", self.flow.precision)
        missing = x.ndim < len(self.event_shape)  # looked at whatever is validated: torch's switch is for all libraries
        if missing or x.shape[x.ndim - len(self.event_shape) :] != self.event_shape:
            raise UsageError(f"the value has shape {tuple(x.shape)}; its last axes must be {tuple(self.event_shape)}")
        leading = x.shape[: x.ndim - len(self.event_shape)]
        try:
            shape = torch.broadcast_shapes(leading, self.batch_shape)
        except RuntimeError:
            raise UsageError(
                f"the value has shape {tuple(x.shape)}, whose first axes do not go with the batch's "
                f"{tuple(self.batch_shape)}"
            ) from None
        rows = x.expand(shape + self.event_shape).reshape(-1, *self.event_shape)
        if not len(rows):
            return rows.new_zeros(shape)
        return log_prob(self.flow, rows, self._rows(self.batch_shape, len(rows))).reshape(shape)

    def _asked(self, sample_shape: Shape) -> tuple[int, Size]:
        whole = _sizes(sample_shape, "sample_shape") + self.batch_shape
        return whole.numel(), whole + self.event_shape

    @property
    def _own_axes(self) -> int:
        """Axes of one condition: none of a label, one of a vector or a mixture."""
        assert self._given is not None
        return int(self._given.is_floating_point())

    def _rows(self, batch: Size, count: int) -> Tensor | None:
        """The condition of each of ``count`` rows, the batch's running fastest."""
        if self._given is None:
            return None
        own = self._given.shape[self._given.ndim - self._own_axes :]
        if not batch.numel():
            return self._given.reshape(0, *own)
        rows = self._given.reshape(batch.numel(), *own)
        return rows.repeat(count // batch.numel(), *(1 for _ in own))

    def _weights(self, rows: Tensor | None) -> None:
        self.flow.condition_weights(rows, 1 if rows is None else len(rows))


def _sizes(shape: Shape, name: str) -> Size:
    sizes = [read(int, size, name) for size in shape]
    if any(size < 0 for size in sizes):
        raise UsageError(f"{name} is {tuple(sizes)}; give sizes of at least 0")
    return Size(sizes)
