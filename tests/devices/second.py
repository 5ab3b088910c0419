"""A second device type for machines without a GPU, so that a tensor left behind on the CPU is found.

Tensors on ``second:0`` are PyTorch's own wrappers around tensors on the CPU: every operation computes on the CPU, with
the CPU's numbers, and refuses what CUDA refuses: tensors of two devices in one operation (but for CPU scalars of no
dimensions, copies, and indices on the CPU), generators of another device, ``numpy()`` before ``cpu()``.

Built on PyTorch's Python-side backends (``PrivateUse1``) and on wrapper subclasses. The device exists inside ``second``
only; outside, the registration that stays in the process says that it is not available.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"

# What may read from one device and write to another.
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::copy", "aten::_copy_from", "aten::_copy_from_and_resize")
# Where indices (the second argument) may lie on the CPU.
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index")
# What PyTorch wants by its name: lists of numbers become tensors where the wrappers are not asked, and these makers
# fill an empty tensor that grows.
_BY_NAME = ("copy_", "arange", "arange.start", "arange.start_step", "eye", "eye.m", "range", "range.step")
# Where not even a scalar may lie on the CPU.
_LISTS = ("aten::cat", "aten::stack")


class Wrapped(Tensor):
    """A tensor that says that it is on the second device, and computes with ``inner`` on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapped":
        """A wrapper of the same shape, strides and type."""
        made: Wrapped = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    # With these two, the parameters of a module that moves here stay the same objects, as on CUDA: shared ones stay
    # shared.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], context: None, size: Any, stride: Any) -> "Wrapped":
        return Wrapped(inner["inner"])

    def __repr__(self, **kwargs: Any) -> str:
        return f"{self.inner!r} on {self.device}"

    def __format__(self, spec: str) -> str:
        return format(self.inner.detach(), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            made = self.detach().clone()
            kept = nn.Parameter(made, self.requires_grad) if isinstance(self, nn.Parameter) else made
            memo[id(self)] = kept.requires_grad_(self.requires_grad)
        found: Tensor = memo[id(self)]
        return found

    def tolist(self) -> Any:
        """As of any tensor; PyTorch refuses it for subclasses."""
        return self.inner.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """The storage inside: savers compare addresses to find what is shared."""
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        """The address inside."""
        return self.inner.data_ptr()

    def numpy(self, **kwargs: Any) -> Any:
        """Refused, as CUDA refuses it."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy; use Tensor.cpu() first")


class SecondGenerator(torch.Generator):
    """A generator of the second device, with the CPU's numbers."""

    @property
    def device(self) -> torch.device:
        """Where it says that it is."""
        return torch.device(NAME, 0)


class _Either(type):
    """Makes generators of either device; both kinds are its instances."""

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return SecondGenerator() if _is_second(device) else _PLAIN()

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _PLAIN)


_PLAIN = torch.Generator


class _AnyGenerator(metaclass=_Either):
    """What stands at ``torch.Generator`` inside the context."""


def _kernel(func: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: _compute(func, args, kwargs)


def _is_second(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _compute(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operation on the tensors inside, after a look at where all of them are."""
    if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):  # as in inference mode
        return func.decompose(*args, **kwargs)
    name = func.name().partition(".")[0]
    _check(name, args, kwargs)
    inside = lambda x: x.inner if isinstance(x, Wrapped) else x  # noqa: E731
    given, named = pytree.tree_map(inside, (list(args), dict(kwargs)))
    target = named.get("device")
    leaves = target is not None and not _is_second(target)
    if target is not None:
        named["device"] = torch.device("cpu") if _is_second(target) else target
    onto_cpu = leaves or (name == "aten::copy_" and not isinstance(args[0], Wrapped))
    # A view of an ordinary tensor is ordinary too, wherever it is made.
    with torch.inference_mode(False), torch.no_grad():
        found = func(*given, **named)
        if not onto_cpu:
            found = pytree.tree_map(lambda x: Wrapped(x) if isinstance(x, Tensor) else x, found)
    grown = [
        x for x in pytree.tree_leaves((list(args), dict(kwargs))) if isinstance(x, Wrapped) and x.shape != x.inner.shape
    ]
    if grown:
        raise NotImplementedError(f"{name} changes the shape of a tensor, which wrappers cannot; name it in _BY_NAME")
    return return_and_correct_aliasing(func, tuple(args), dict(kwargs), found)


def _check(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises RuntimeError for tensors on two devices."""
    if name in _COPIES:
        return
    every = pytree.tree_leaves((list(args), dict(kwargs)))
    if name in _INDEXING and isinstance(args[0], Wrapped):
        every = pytree.tree_leaves((args[0], list(args[2:]), dict(kwargs)))
    tensors = [x for x in every if isinstance(x, Tensor)]
    behind = [x for x in tensors if not isinstance(x, Wrapped) and (x.dim() or name in _LISTS)]
    if behind and len(behind) < len(tensors):
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, but found {NAME}:0 and a tensor of shape "
            f"{tuple(behind[0].shape)} on {behind[0].device}"
        )


class _Watching(TorchFunctionMode):
    """Looks at which generator was given, which operations cannot see: they get a new object for it."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _check_generator(func, args, kwargs)
        return func(*args, **kwargs)


def _check_generator(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises RuntimeError for a generator of another device than what is drawn."""
    every = [*args, *kwargs.values()]
    generator = next((x for x in every if isinstance(x, _PLAIN)), None)
    if generator is None:
        return
    device = kwargs.get("device")
    where = next((x.device for x in every if isinstance(x, Tensor)), torch.get_default_device())
    wanted = where if device is None else torch.device(device)
    if wanted.type not in (generator.device.type, "meta"):
        raise RuntimeError(
            f"{func.__name__}: expected a '{wanted.type}' device type for generator but found '{generator.device.type}'"
        )


class _Stream:
    """Work that is done when it is asked for."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def wait_stream(self, other: object) -> None:
        """Nothing to wait for."""


class _Module:
    """What stands at ``torch.second``."""

    available = False

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return self.available

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return int(self.available)

    def current_stream(self, device: object = None) -> _Stream:
        return _Stream()

    def stream(self, stream: object) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self, device: object = None) -> None:
        """Everything is done."""

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """The CPU's generator, which was seeded already, is used."""


class _Hook(torch._C._acc.PrivateUse1Hooks):  # type: ignore[name-defined,misc]
    def is_available(self) -> bool:
        return _module.available

    def has_primary_context(self, device: int) -> bool:
        return _module.available

    def is_built(self) -> bool:
        return True


_module = _Module()
_registered: list[Any] = []


def _register() -> None:
    """Once in a process; there is no way back."""
    if not _registered:
        _setup_privateuseone_for_python_backend(NAME, _module, _Hook())
        # What makes tensors reaches the backend itself; all else comes from the wrappers.
        every, named = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        every.fallback(lambda func, *args, **kwargs: _compute(func, args, kwargs), "PrivateUse1")
        for name in _BY_NAME:
            packet, _, overload = name.partition(".")
            named.impl(name, _kernel(getattr(getattr(torch.ops.aten, packet), overload or "default")), "PrivateUse1")
        _registered.extend([every, named])


@contextmanager
def second() -> Iterator[torch.device]:
    """The second device, while the context lasts."""
    _register()
    torch.Generator = _AnyGenerator  # type: ignore[misc,assignment]
    _module.available = True
    try:
        # Threads of the backward pass are started with the first one, when the device may not have been there.
        with _Watching(), torch.autograd.set_multithreading_enabled(False):
            yield torch.device(NAME, 0)
    finally:
        _module.available = False
        torch.Generator = _PLAIN  # type: ignore[misc]
