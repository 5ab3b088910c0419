"""The second device of the tests: the CPU's numbers, and a GPU's refusals."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.devices.second import Wrapped, second

Made = Callable[[torch.device], Tensor]


@pytest.fixture
def device() -> Iterator[torch.device]:
    with second() as device:
        yield device


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Embedding(7, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)]
    made = nn.Sequential(*layers)
    made.register_buffer("scale", torch.linspace(0.5, 2.0, 3))
    return made


def attended(device: torch.device) -> Tensor:
    q, k, v = (torch.linspace(-1, 1, 64, device=device).reshape(1, 2, 4, 8).roll(n, -1) for n in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool, device=device).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def masked(device: torch.device) -> Tensor:
    x = torch.arange(12.0, device=device).reshape(3, 4)
    x[x > 7] = -1.0
    x[:, 0] += x[[2, 0, 1], 1]
    return x.masked_fill(x < 0, 0.5)[x.sum(1).argsort()]


def drawn(device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(3)
    parts = [torch.rand(2, generator=generator, device=device), torch.randn(2, generator=generator, device=device)]
    parts.append(torch.multinomial(torch.ones(4, device=device), 2, generator=generator).float())
    return torch.cat([*parts, torch.empty(2, device=device).uniform_(generator=generator)])


def differentiated(device: torch.device) -> Tensor:
    model = network().to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)
    for _ in range(2):
        optimiser.zero_grad()
        F.cross_entropy(model(tokens).flatten(0, 1) * model.scale, tokens.flatten() % 3).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def convolved(device: torch.device) -> Tensor:
    x = torch.linspace(-1, 1, 2 * 4 * 6 * 6, device=device, dtype=torch.float64).reshape(2, 4, 6, 6)
    torch.manual_seed(1)
    made = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU()).double().to(device)
    found: Tensor = made(x)
    return F.interpolate(found, scale_factor=0.5).detach()


def counted(device: torch.device) -> Tensor:
    values = torch.tensor([3, 1, 2, 1], device=device)
    table = torch.zeros(4, dtype=torch.long, device=device).scatter_add(0, values, torch.ones_like(values))
    return torch.stack([table, values.sort().values, values.new_tensor([1, 2, 3, 4])])


MADE: list[Made] = [attended, masked, drawn, differentiated, convolved, counted]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_it_computes_as_the_cpu(make: Made, device: torch.device) -> None:
    found = make(device)
    assert isinstance(found, Wrapped)
    assert found.device == device
    there = found.cpu()
    assert type(there) is Tensor
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, make(torch.device("cpu")))
    assert there.abs().sum() > 0


def test_values_come_back(device: torch.device) -> None:
    x = torch.arange(3.0).to(device)
    assert x[1].item() == 1.0
    assert x.tolist() == [0.0, 1.0, 2.0]
    assert bool((x >= 0).all())
    assert [float(value) for value in x] == [0.0, 1.0, 2.0]
    assert f"{x.sum():.1f}" == "3.0"
    assert "second:0" in repr(x)
    assert x.to("cpu", torch.float64).dtype == torch.float64
    kept = torch.zeros(3)
    kept.copy_(x)
    assert torch.equal(kept, torch.arange(3.0))


def test_modules_move_there_and_back(device: torch.device) -> None:
    model = network()
    model.again = model[1]
    weight = model[1].weight
    assert model.to(device)[1].weight is weight is model.again.weight
    assert all(t.device == device for t in model.state_dict().values())
    assert copy.deepcopy(model)[1].weight.device == device
    model.load_state_dict(network_state := {name: tensor + 1 for name, tensor in model.state_dict().items()})
    assert torch.equal(model[1].weight, network_state["1.weight"])
    assert {t.device.type for t in model.to("cpu").state_dict().values()} == {"cpu"}
    assert type(model[1].weight) is nn.Parameter


MIXED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda there, here: there + here,
    "mul": lambda there, here: here * there,
    "mm": lambda there, here: there.outer(there) @ here.outer(here),
    "cat": lambda there, here: torch.cat([there, here]),
    "stack": lambda there, here: torch.stack([there.sum(), here.sum()]),
    "where": lambda there, here: torch.where(there > 0, there, here),
    "index": lambda there, here: here[there.long()],
    "index_put_": lambda there, here: there.index_put_((torch.tensor([0]),), here[:1]),
    "masked_fill": lambda there, here: there.masked_fill(here > 0, 0.0),
    "gather": lambda there, here: there.gather(0, here.long()),
    "embedding": lambda there, here: F.embedding(here.long(), there.outer(there)),
    "layer_norm": lambda there, here: F.layer_norm(there, (3,), here),
    "add_": lambda there, here: here.add_(there),
    "uniform_": lambda there, here: there.uniform_(generator=torch.Generator()),
    "rand": lambda there, here: torch.rand(2, device=there.device, generator=torch.Generator()),
    "randn": lambda there, here: torch.randn(2, generator=torch.Generator(there.device)),
}


@pytest.mark.parametrize("name", MIXED)
def test_two_devices_in_one_operation_are_refused(name: str, device: torch.device) -> None:
    there, here = torch.arange(3.0).to(device), torch.arange(3.0)
    with pytest.raises(RuntimeError, match=rf"{name.rstrip('_')}.*(same device|generator)"):
        MIXED[name](there, here)
    if name not in ("uniform_", "rand", "randn"):  # on one device it is done
        assert isinstance(MIXED[name](there.clone(), torch.arange(3.0).to(device)), Tensor)


def test_shapes_of_what_is_made(device: torch.device) -> None:
    made = [torch.arange(4, device=device), torch.eye(3, device=device), torch.linspace(0, 1, 5, device=device)]
    made += [torch.randperm(6, device=device), torch.tensor([[1.0]], device=device), F.one_hot(made[0])]
    assert [tuple(x.shape) for x in made] == [(4,), (3, 3), (5,), (6,), (1, 1), (4, 4)]
    assert all(x.device == device and x.shape == x.cpu().shape for x in made)
    with pytest.raises(NotImplementedError, match="changes the shape"):
        torch.add(made[0], 1, out=torch.empty(0, dtype=torch.int64, device=device))


def test_numpy_is_refused(device: torch.device) -> None:
    x = torch.arange(3.0).to(device)
    for take in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
            take()


def test_what_a_gpu_allows_is_allowed(device: torch.device) -> None:
    x = torch.arange(3.0).to(device)
    assert (x * torch.tensor(2.0)).tolist() == [0, 2, 4]
    assert x[torch.tensor([2, 0])].tolist() == [2, 0]
    assert x.cpu().to(x).device == device
    x.copy_(torch.ones(3))
    assert x.tolist() == [1, 1, 1]


def test_outside_the_context_there_is_no_such_device() -> None:
    with second() as device:
        assert torch.accelerator.is_available()
        assert torch.Generator(device).device == device
        assert isinstance(torch.Generator(), torch.Generator)
    assert not torch.accelerator.is_available()
    assert torch.Generator is type(torch.Generator())
    model = network()
    F.cross_entropy(model(torch.tensor([1, 2])), torch.tensor([1, 2])).backward()
    assert model[1].weight.grad is not None
