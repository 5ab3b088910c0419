"""Nested state as JSON beside a flat dictionary of tensors, and optimiser state by parameter name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from tenfold.errors import TenfoldError

_TENSOR = "__tensor__"


def split(value: Any, path: str) -> tuple[Any, dict[str, Tensor]]:
    """Separate a nest of dictionaries and lists into a JSON skeleton and its tensors by path.

    Tuples come back as lists. Raises TenfoldError, naming the place, for anything JSON cannot hold.
    """
    tensors: dict[str, Tensor] = {}

    def walk(item: Any, place: str) -> Any:
        if isinstance(item, Tensor):
            tensors[place] = item.detach()
            return {_TENSOR: place}
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise TenfoldError(f"cannot save {place}: its keys must be strings, found {list(item)[:3]}")
            return {key: walk(child, f"{place}/{key}") for key, child in item.items()}
        if isinstance(item, (list, tuple)):
            return [walk(child, f"{place}/{index}") for index, child in enumerate(item)]
        if item is None or isinstance(item, (str, bool, int, float)):
            return item
        raise TenfoldError(
            f"cannot save {place}: {type(item).__name__} is neither a tensor nor a JSON value; "
            "convert it in state_dict()"
        )

    return walk(value, path), tensors


def join(skeleton: Any, tensor_at: Callable[[str], Tensor]) -> Any:
    """The inverse of ``split``."""
    if isinstance(skeleton, dict):
        if set(skeleton) == {_TENSOR}:
            return tensor_at(skeleton[_TENSOR])
        return {key: join(child, tensor_at) for key, child in skeleton.items()}
    if isinstance(skeleton, list):
        return [join(child, tensor_at) for child in skeleton]
    return skeleton


def parameter_names(modules: Mapping[str, nn.Module]) -> dict[int, str]:
    """``module/parameter`` by the identity of the parameter."""
    names: dict[int, str] = {}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            names.setdefault(id(parameter), f"{name}/{key}")
    return names


def optimizer_state(optimizer: Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """State and settings with parameters called by name: independent of order and of sharding."""
    state = {names[id(p)]: dict(values) for p, values in optimizer.state.items() if values}
    groups = []
    for group in optimizer.param_groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        groups.append({**settings, "params": [names[id(p)] for p in group["params"]]})
    return {"state": state, "param_groups": groups}


def optimizer_template(optimizer: Optimizer, names: Mapping[int, str], place: str) -> dict[str, Tensor]:
    """The parameter behind each place of an optimiser's state: what is shaped like it is sharded like it."""
    return {f"{place}/state/{names[id(p)]}": p.detach() for group in optimizer.param_groups for p in group["params"]}


def load_optimizer_state(optimizer: Optimizer, saved: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Restore ``optimizer_state``; TenfoldError when it belongs to other parameters."""
    fresh = optimizer.state_dict()
    numbers: dict[str, int] = {}
    for group, packed, old in zip(optimizer.param_groups, fresh["param_groups"], saved["param_groups"], strict=True):
        ours = [names[id(p)] for p in group["params"]]
        if ours != old["params"]:
            different = sorted(set(ours) ^ set(old["params"]))[:5]
            raise TenfoldError(f"the optimiser state is of other parameters: {', '.join(different)}")
        numbers.update(zip(ours, packed["params"], strict=True))
        for key, value in old.items():
            if key != "params":
                packed[key] = tuple(value) if isinstance(packed.get(key), tuple) else value
    fresh["state"] = {numbers[name]: dict(values) for name, values in saved["state"].items()}
    optimizer.load_state_dict(fresh)
