"""Processes, devices and sharding: DDP, and FSDP2 by torch's own ``fully_shard``.

Processes start with ``torchrun``; a run without it is one process. Accelerate supplies the device, the
autocast context and the trackers.
"""

import atexit
import copy
import functools
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tenfold.errors import TenfoldError, UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.devices import device_named

Mode = Literal["single", "ddp", "fsdp"]


@dataclass(frozen=True)
class World:
    """This process among its peers. All methods but ``main`` are collective: every process calls them."""

    rank: int
    size: int
    device: torch.device
    mode: Mode
    accelerator: Accelerator

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def agree(self, error: BaseException | None = None) -> None:
        """Raise on every process when any brings an ``error``: nobody waits for a peer that failed."""
        if self.size == 1:
            if error is not None:
                raise error
            return
        told = None if error is None else f"{getattr(error, 'exit_code', 1)}{error}"
        everyone = self.gather(told)
        if error is not None:
            raise error
        for rank, text in enumerate(everyone):
            if text is not None:
                kind = UsageError if text[0] == "2" else TenfoldError
                raise kind(f"{text[1:]} (process {rank})")

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Run a block without collectives inside on every process, and ``agree`` at its end."""
        error: BaseException | None = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
        self.agree(error)

    def gather(self, value: Any) -> list[Any]:
        """The JSON-able ``value`` of every process, by rank."""
        if self.size == 1:
            return [value]
        raw = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([raw.numel()]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: raw.numel()] = raw
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(p[: int(n)].tolist())) for p, n in zip(parts, sizes, strict=True)]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's JSON-able ``value``."""
        return self.gather(value if self.main else None)[0]

    def maximum(self, value: int) -> int:
        """The largest of the processes' numbers."""
        return value if self.size == 1 else int(self._reduced(torch.tensor([value]), dist.ReduceOp.MAX))

    def minimum(self, values: Tensor) -> Tensor:
        """Elementwise smallest over the processes, of a CPU tensor."""
        return self._reduced(values, dist.ReduceOp.MIN)

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over the processes, of a CPU tensor."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def interleaved(self, values: Tensor) -> Tensor:
        """The rows (n, ...) of every process, of CPU tensors of one shape: the first row of each, the second, ..."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values, operation)
        return values


def check_batch(config: TrainingConfig, size: int) -> None:
    """Raise UsageError where ``size`` processes cannot share the batch evenly."""
    if config.batch_size % (size * config.accumulate):
        raise UsageError(
            f"train.batch_size {config.batch_size} cannot be split over {size} processes and "
            f"{config.accumulate} accumulation rounds; choose a multiple of {size * config.accumulate}"
        )


def set_up(config: TrainingConfig, device: str = "auto") -> World:
    """Join the process group that ``torchrun`` announced and choose device, precision and mode.

    ``device`` is a name for ``tenfold.training.devices.device_named``; several processes take one accelerator each.

    Raises:
        UsageError: when the settings do not fit the number of processes, or the machine has no such device.
    """
    chosen = device_named(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    mode = _mode(config, size)
    check_batch(config, size)
    cuda = chosen.type == "cuda"
    if size > 1 and chosen.index is not None and device != "auto":
        raise UsageError(f"device is {device!r}, but {size} processes take one device each; give {chosen.type}")
    if size > 1 and not dist.is_initialized():
        # Two backends: tensors on the device go through NCCL, agreement about files and signals through Gloo.
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        atexit.register(shut_down)
    if config.threads:
        torch.set_num_threads(config.threads)
    threads = torch.get_num_threads()
    AcceleratorState._reset_state(reset_partial_state=True)  # a second run in this process may differ
    if cuda and chosen.index is not None:
        torch.cuda.set_device(chosen)
    accelerator = Accelerator(cpu=chosen.type == "cpu", mixed_precision="bf16" if config.precision == "bf16" else "no")
    torch.set_num_threads(threads)  # Accelerate chooses a count of its own for several CPU processes
    if accelerator.num_processes != size:
        raise UsageError(
            f"WORLD_SIZE is {size} but {accelerator.num_processes} are connected; start them with "
            "'torchrun --nproc-per-node N -m tenfold.cli.main train ...'"
        )
    return World(accelerator.process_index, size, accelerator.device, mode, accelerator)


def _mode(config: TrainingConfig, size: int) -> Mode:
    if config.parallel == "auto":
        return "single" if size == 1 else "ddp"
    if config.parallel == "single" and size > 1:
        raise UsageError(f"train.parallel is single but {size} processes were started; use auto, ddp or fsdp")
    if config.parallel in ("ddp", "fsdp") and size == 1:
        raise UsageError(
            f"train.parallel is {config.parallel} but only one process was started; start several with "
            "'torchrun --nproc-per-node N -m tenfold.cli.main train ...' or use auto"
        )
    return config.parallel


def seed_everything(key: int, device: torch.device) -> None:
    """Seed torch's global generators from 64 bits, without the queue that ``torch.manual_seed`` keeps on
    machines whose GPU was never used."""
    torch.default_generator.manual_seed(key & (2**63 - 1))
    if device.type == "cuda":
        torch.cuda.manual_seed(key & (2**63 - 1))


def shut_down() -> None:
    """Leave the process group, if there is one.

    Gloo's threads need Python's lock to release the tensors of a finished collective. The pause lets them have it:
    without it, destroying the group while they wait for the lock that its destructor holds is a deadlock, and at the
    interpreter's end an abort."""
    if dist.is_initialized():
        time.sleep(0.2)
        dist.destroy_process_group()


def wrap(modules: Mapping[str, nn.Module], world: World, config: TrainingConfig) -> dict[str, nn.Module]:
    """The modules to train: on the device, compiled, checkpointed and parallel as the settings say.

    Under FSDP2 they are sharded copies, and the given modules give up their weights until ``unwrap``.
    """
    for module in modules.values():
        module.to(world.device)
        _same_everywhere(module, world)
    if world.mode == "fsdp":
        # Copied together, so that what two modules share stays shared; buffers stay with the originals.
        trained = copy.deepcopy(dict(modules))
        for module in modules.values():
            _give_up(module)
    else:
        trained = dict(modules)
    for name, module in trained.items():
        if config.activation_checkpointing:
            recompute_activations(name, module)
        if config.compile:
            for unit in units_of(module) or [module]:
                unit.compile()
    if world.mode == "fsdp":
        for module in trained.values():
            shard(module, world, config.precision)
    elif world.mode == "ddp":
        trained = {name: _ddp(module, world) for name, module in trained.items()}
    return trained


def _same_everywhere(module: nn.Module, world: World) -> None:
    if world.size > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)


def _ddp(module: nn.Module, world: World) -> nn.Module:
    if not any(p.requires_grad for p in module.parameters()):
        return module
    ids = [world.device.index] if world.device.type == "cuda" else None
    # Buffers are not broadcast at each forward: an adversarial pair calls a module twice per backward.
    with warnings.catch_warnings():
        # Newer versions call it forward_sync_buffers; the oldest one we support does not know that name.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


def units_of(module: nn.Module) -> list[nn.Module]:
    """What the module says is to be sharded one by one (``shard_units``); empty when it says nothing."""
    return list(cast(Any, getattr(module, "shard_units", [])))


def shard(module: nn.Module, world: World, precision: str) -> None:
    """Shard a module in place: its ``shard_units`` one by one, then the rest with the root."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    # Inputs keep their precision (a density is evaluated at them); autocast rounds inside the operators.
    # CPU kernels refuse weights of another type than their input, so only the GPU gathers in bf16.
    gather_type = torch.bfloat16 if precision == "bf16" and world.device.type == "cuda" else None
    policy = MixedPrecisionPolicy(gather_type, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for unit in units_of(module):
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    # Gathered weights are never kept after a forward: they would be stale once the average is swapped in.
    fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def reshard(module: nn.Module) -> None:
    """Drop the gathered copies of FSDP2 weights; nothing for other modules."""
    for child in module.modules():
        if isinstance(child, FSDPModule):
            child.reshard()


def recompute_activations(name: str, module: nn.Module) -> None:
    """Recompute the module's layers in the backward pass; names of weights do not change.

    Layers are ``checkpoint_units`` of the module, or else its ``shard_units``.
    """
    layers = list(cast(Any, getattr(module, "checkpoint_units", []))) or units_of(module)
    if not layers:
        raise UsageError(
            f"train.activation_checkpointing: module {name!r} names no layers to recompute "
            "(checkpoint_units or shard_units); switch it off"
        )
    for layer in layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)


def unwrap(own: Mapping[str, nn.Module], trained: Mapping[str, nn.Module], world: World) -> None:
    """Undo ``wrap``: plain modules again, with the trained weights (under FSDP2 in the main process only)."""
    for name, module in own.items():
        if world.mode == "fsdp":
            _collect(module, trained[name], world)
        for child in module.modules():
            forward = child.__dict__.get("forward")
            if isinstance(forward, functools.partial) and forward.func is checkpoint:
                del child.forward
                if child.forward != forward.args[0]:  # the module had one of its own
                    child.forward = forward.args[0]
            child._compiled_call_impl = None  # torch.compile would specialise on every sampling shape
            child.zero_grad(set_to_none=True)


@contextmanager
def whole(own: Mapping[str, nn.Module], trained: Mapping[str, nn.Module], world: World) -> Iterator[None]:
    """While the body runs, plain modules hold the weights of their wrapped selves in every process: under FSDP2 they
    are gathered, and given up behind it. Collective."""
    if world.mode != "fsdp":
        yield
        return
    for name, module in own.items():
        _collect(module, trained[name], world, everywhere=True)
    try:
        yield
    finally:
        for module in own.values():
            _give_up(module)


def _give_up(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data.new_empty(0)


@torch.no_grad()
def _collect(own: nn.Module, trained: nn.Module, world: World, everywhere: bool = False) -> None:
    kept = dict(own.named_parameters()) if world.main or everywhere else {}
    for key, parameter in trained.named_parameters():
        full = full_tensor(parameter)  # collective: every process takes part, one parameter at a time
        if key in kept:
            kept[key].data = full.to(world.device)
    if kept:
        for buffer, source in zip(own.buffers(), trained.buffers(), strict=True):
            buffer.copy_(source)


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor (collective), or the tensor itself; detached."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def bare(module: nn.Module) -> nn.Module:
    """The module inside a DDP wrapper: its names are those of the system."""
    return cast(nn.Module, module.module) if isinstance(module, DistributedDataParallel) else module


@contextmanager
def gradient_sync(modules: Mapping[str, nn.Module], active: bool) -> Iterator[None]:
    """Reduce gradients over processes, or keep them local (accumulation before its last round)."""
    with ExitStack() as stack:
        for module in modules.values():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(active)
            elif isinstance(module, DistributedDataParallel) and not active:
                stack.enter_context(module.no_sync())
        yield
