"""The memory that a step of training takes, found by running the step itself on the meta device, where nothing is
allocated: the most bytes that are alive at any time, forward and backward, frozen networks and drawn numbers included.

What depends on numbers, which meta tensors do not have, is decided in advance: a mask chooses a share of its places,
``all`` of anything is true, and every other number that is looked at is 0.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from tenfold.nn.cost import training_bytes
from tenfold.training.config import TrainingConfig
from tenfold.training.parallel import recompute_activations
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Task

_MANY = 1 << 30
_LATE = 1 << 30  # a step after every warm-up: what begins late is there
_aten = torch.ops.aten


def rehearsed(
    task: Task,
    modules: Mapping[str, nn.Module],
    batch: Callable[[int], Batch],
    config: TrainingConfig,
    frozen: Iterable[nn.Module] = (),
    share: float = 0.5,
    few: int = _MANY,
) -> dict[str, int]:
    """The bytes of a training over all processes (``tenfold.nn.cost.training_bytes``): what a step of ``task`` takes.

    Args:
        task: with all that its step uses on the meta device.
        modules: what is trained.
        batch: makes meta tensors of so many rows: those that are computed at once, a batch over its rounds of
            accumulation.
        config: of the training.
        frozen: networks that are used besides, whose weights are not trained.
        share: of their places that masks choose.
        few: rows from which on each takes as much as the one before: no more than twice as many are run.
    """
    if config.activation_checkpointing:
        for name, module in modules.items():
            recompute_activations(name, module)
    parameters = list({id(p): p for module in modules.values() for p in module.parameters()}.values())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    still = sum(p.numel() for module in frozen for p in module.parameters())
    rows = config.batch_size // config.accumulate
    tried = [rows] if rows <= 2 * few else [few, 2 * few]
    with torch.device("meta"):
        batches = [batch(number) for number in tried]
    found = [_most_alive(task, modules, one, config, parameters, share) for one in batches]
    most = found[0].all
    if len(found) > 1:
        # Gradients do not grow with the rows; that they are whole at the worst moment is more than there is.
        each = (found[1].others - found[0].others) // few
        most = found[1].others + each * (rows - tried[1]) + 4 * trained
    activations = max(0, most - 4 * trained) // (2 if config.precision == "bf16" else 1)
    count = sum(p.numel() for p in parameters) + still
    return training_bytes(count, trained, activations, 1, config.ema is not None)


def _most_alive(
    task: Task,
    modules: Mapping[str, nn.Module],
    batch: Batch,
    config: TrainingConfig,
    parameters: Sequence[Tensor],
    share: float,
) -> "_Most":
    """Bytes alive at the worst moment of a step."""
    _without_gradients(parameters)
    rehearsal = _Rehearsal(share, {tuple(p.shape) for p in parameters})
    with (
        patch.object(F, "scaled_dot_product_attention", _fused),
        patch.object(Draws, "_words", _words),
        torch.device("meta"),
        rehearsal,
    ):
        # Two rounds of accumulation stand for all: each leaves as much behind as the second.
        phases = [task.step(modules, batch, Draws(config.seed, _LATE)) for _ in range(min(2, config.accumulate))]
        left, going = [0], True
        while going:
            _without_gradients(parameters)
            for phase in phases:
                update = next(phase, None)
                going = update is not None
                if update is not None:
                    rehearsal.goes_back = True
                    update.loss.backward()
                    rehearsal.goes_back = False
                    del update
                    left.append(rehearsal.alive)
    _without_gradients(parameters)
    more = max(0, config.accumulate - 2) * (left[2] - left[1] if len(phases) == 2 else 0)
    return _Most(rehearsal.most + more, rehearsal.most_others + more)


def _without_gradients(parameters: Iterable[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


class _Most(NamedTuple):
    """Bytes alive at the worst moment: all but the weights, and all but weights and their gradients."""

    all: int
    others: int


class _Rehearsal(TorchDispatchMode):
    """Counts the bytes of what is alive."""

    def __init__(self, share: float, shapes: set[tuple[int, ...]]) -> None:
        super().__init__()
        self.share, self.shapes, self.goes_back = share, shapes, False
        self.alive = self.most = self.others = self.most_others = 0
        self._known: set[int] = set()
        self._true = WeakTensorKeyDictionary()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        found = self._answer(function, arguments, dict(options or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                self._count(tensor.untyped_storage(), self.goes_back and tuple(tensor.shape) in self.shapes)
        return found

    def _answer(self, function: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        name = function.overloadpacket
        if name is _aten._local_scalar_dense:
            return arguments[0] in self._true
        if name is _aten.equal:
            return True
        if name is _aten._to_copy and options.get("device", torch.device("meta")).type == "cpu":
            options["device"] = torch.device("meta")  # what a step keeps elsewhere counts too
        if name is _aten.nonzero:
            return torch.stack(self._places(arguments[0]), 1)
        if name in (_aten.unique_dim, _aten._unique2, _aten.unique_consecutive):
            values = arguments[0].clone()
            rows = len(values) if name is _aten.unique_dim else values.numel()
            return values, values.new_empty(rows, dtype=torch.int64), values.new_empty(rows, dtype=torch.int64)
        if name in (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index):
            arguments = [arguments[0], self._indices(arguments[1]), *arguments[2:]]
        found = function(*arguments, **options)
        if name is _aten.all or (
            name in (_aten.bitwise_and, _aten.logical_and) and all(argument in self._true for argument in arguments)
        ):
            self._true[found] = None
        return found

    def _places(self, mask: Tensor) -> list[Tensor]:
        """Where a mask is true."""
        count = max(1, int(self.share * mask.numel()))
        return [mask.new_empty(count, dtype=torch.int64) for _ in range(mask.ndim)]

    def _indices(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for index in indices:
            found += self._places(index) if index is not None and index.dtype == torch.bool else [index]
        return found

    def _count(self, storage: Any, gradient: bool) -> None:
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        size = storage.nbytes()
        other = 0 if gradient else size
        weakref.finalize(storage, self._forget, storage._cdata, size, other)
        self.alive, self.others = self.alive + size, self.others + other
        self.most, self.most_others = max(self.most, self.alive), max(self.most_others, self.others)

    def _forget(self, key: int, size: int, other: int) -> None:
        self._known.discard(key)
        self.alive, self.others = self.alive - size, self.others - other


def _words(draws: Draws, purpose: str, index: Tensor, count: int) -> Tensor:
    """As many numbers as ``Draws`` makes, and what is alive meanwhile, without the hundred operations of each."""
    lanes = (count + 3) // 4
    index.new_empty(12, len(index), lanes, dtype=torch.int64)  # counters, products and their halves
    return index.new_empty(len(index), 4 * lanes, dtype=torch.int64)[:, :count]


class _Attention(torch.autograd.Function):
    """Attention that keeps what the fused kernels of the CPU and of accelerators keep. (The meta device has none: there
    the plain one keeps all weights of all heads.)"""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, found, found.new_empty(found.shape[:-1]))
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


_plain = F.scaled_dot_product_attention


def _fused(query: Tensor, key: Tensor, value: Tensor, *how: Any, **options: Any) -> Tensor:
    if not torch.backends.cuda.flash_sdp_enabled():  # where attention is differentiated twice, it is the plain one
        return _plain(query, key, value, *how, **options)
    found: Tensor = _Attention.apply(query, key, value)
    return found
