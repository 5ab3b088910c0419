"""What the maps of mixtures cost: their inverse against bisection, the memory of the d-dimensional one.

``inverse-bisection``: seconds to a residual of 1e-9 in float64, of guarded Newton steps against bisection in the same
bracket with the same tail-safe map; ``-fast`` gives bisection our quicker map too. ``inverse-zuko``: against the zuko
library's bisection of its own, not tail-safe, map. ``rosenblatt-memory``: peak of a
forward and backward pass, against the direct form: all components of all positions and dimensions at once.

``mixd-step``: seconds of a training step of one Mix-d flow, against the discrete autoregressive model of equal body.
``jacobi-calls``: calls of the network for samples of a flow that is briefly trained here on the King James text, by
Jacobi's method to 1e-4, against one position after the other; ``-stack`` the same of two couplings; ``patch4-calls``:
one position after the other, with four tokens a position against one.
"""

import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Record, main, paired
from tenfold.api import catalogue
from tenfold.discrete_diffusion import Autoregressive, AutoregressiveConfig
from tenfold.settings.changes import change
from tenfold.text_flows import TextFlow, TextFlowConfig, TextFlowTask, invert_flow
from tenfold.text_flows.bijectors import inverse
from tenfold.text_flows.bijectors.normal import log_pdf
from tenfold.text_flows.bijectors.rosenblatt import MixtureRosenblatt
from tenfold.text_flows.bijectors.scalar import log_density, log_tails, to_base
from tenfold.text_flows.sampling import base_noise
from tenfold.training.streams import Draws, numpy_generator

TOLERANCE = 1e-9
Map = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def tail_safe(z: Tensor, log_weights: Tensor, weights: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Φ⁻¹(F(z)) and log p(z) by the logarithms of both tails."""
    log_p = log_density(z, log_weights, mean, scale)
    return to_base(log_p, *log_tails(z, log_weights, mean, scale)).u, log_p


def bisection(u: Tensor, log_weights: Tensor, mean: Tensor, scale: Tensor, evaluate: Map) -> Tensor:
    """Halve the bracket of all lanes until each is within the tolerance."""
    weights, ends = log_weights.exp(), mean + scale * u[:, None]
    low, high = ends.amin(-1), ends.amax(-1)
    for _ in range(100):
        z = (low + high) / 2
        gap = evaluate(z, log_weights, weights, mean, scale)[0] - u
        if bool((gap.abs() <= TOLERANCE).all()):
            break
        low, high = torch.where(gap < 0, z, low), torch.where(gap > 0, z, high)
    return z


def inverse_records(count: int, lanes: int, repeats: int) -> list[Record]:
    """Mixtures of ``count`` components, their means spread over some ten scales."""
    g = torch.Generator().manual_seed(count)
    logits, mean, log_scale = (torch.randn(lanes, count, generator=g, dtype=torch.float64) for _ in range(3))
    mixture = logits.log_softmax(-1), 8 * mean, (0.7 * log_scale).exp()
    u = torch.randn(lanes, generator=g, dtype=torch.float64)

    def ours() -> Tensor:
        return inverse._solved(u, *mixture, TOLERANCE)

    residual = float((tail_safe(ours(), mixture[0], mixture[0].exp(), *mixture[1:])[0] - u).abs().amax())
    records = []
    for name, evaluate in (("", tail_safe), ("-fast", inverse._mapped)):
        seconds = paired(ours, lambda evaluate=evaluate: bisection(u, *mixture, evaluate), repeats)  # type: ignore[misc]
        sizes = {"components": count, "lanes": lanes}
        records.append(Record(f"inverse-bisection{name}-{count}", *seconds, "s", residual, sizes))
    return records


def zuko_record(count: int, lanes: int, repeats: int) -> Record:
    """Mixtures of equal weights, where zuko's Gaussianization is the same map but for a factor of 1 - 1e-6 within it:
    its bisection of [-10, 10] against ours of both tails. Roots are kept inside that bracket and off its tails; each
    side's residual is that of its own map."""
    from zuko.transforms import GaussianizationTransform

    g = torch.Generator().manual_seed(count)
    mean, log_scale = (torch.randn(lanes, count, generator=g, dtype=torch.float64) for _ in range(2))
    mean, scale = 2 * mean, (0.5 * log_scale).exp()
    u = 2 * torch.rand(lanes, generator=g, dtype=torch.float64) - 1
    log_weights = torch.full_like(mean, -math.log(count))
    theirs = GaussianizationTransform(-mean / scale, -scale.log(), eps=TOLERANCE)

    def ours() -> Tensor:
        return inverse._solved(u, log_weights, mean, scale, TOLERANCE)

    def other() -> Tensor:
        return theirs.inv(u)

    residual = float((tail_safe(ours(), log_weights, log_weights.exp(), mean, scale)[0] - u).abs().amax())
    theirs_residual = float((theirs(other()) - u).abs().amax())
    sizes, details = {"components": count, "lanes": lanes}, {"other_residual": theirs_residual}
    return Record(f"inverse-zuko-{count}", *paired(ours, other, repeats), "s", residual, sizes, details)


def direct(z: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Σ u² + Σ log det of Rosenblatt's map with every component of every dimension and position at once."""
    t = (z[..., None, :] - mean) / scale[:, None]
    log_normal = log_pdf(t) - scale.log()[:, None]
    before = torch.cat([torch.zeros_like(log_normal[..., :1]), log_normal.cumsum(-1)[..., :-1]], -1)
    logs = (logits.log_softmax(-1)[..., None] + before).log_softmax(-2)
    log_p = (logs + log_normal).logsumexp(-2)
    tails = [(logs + torch.special.log_ndtr(sign * t)).logsumexp(-2) for sign in (1, -1)]
    u, logdet = to_base(log_p, *tails)
    return u.square().sum() + logdet.sum()


def chunked(z: Tensor, logits: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The same by ours."""
    u, logdet = MixtureRosenblatt(logits, mean, scale).forward(z)
    return u.square().sum() + logdet.sum()


def peak(work: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[float, float, list[Tensor]]:
    """MiB of resident memory above the start, seconds, and the gradients of a pass both ways."""
    highest, done = [0], threading.Event()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def watch() -> None:
        while not done.is_set():
            highest[0] = max(highest[0], resident())
            time.sleep(0.002)

    base, watcher = resident(), threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    gradients = list(torch.autograd.grad(work(*inputs), inputs))
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    return (max(highest[0], resident()) - base) / 2**20, seconds, gradients


def memory_record(rows: int, count: int, dims: int) -> Record:
    """A pass of both kinds, ours first: what the other leaves to the allocator would hide ours."""
    g = torch.Generator().manual_seed(0)
    shapes = ((rows, dims), (rows, count), (count, dims), (count,))
    z, logits, mean, log_scale = (torch.randn(shape, generator=g) for shape in shapes)
    inputs = [x.requires_grad_() for x in (z, logits, mean, (0.3 * log_scale).exp())]
    chunked(*inputs)
    ours, our_seconds, found = peak(chunked, inputs)
    other, other_seconds, expected = peak(direct, inputs)
    error = max(float((a - b).abs().amax() / b.abs().amax()) for a, b in zip(found, expected, strict=True))
    return Record(
        "rosenblatt-memory",
        ours,
        other,
        "MiB",
        error,
        {"rows": rows, "components": count, "dimensions": dims},
        {"ours_seconds": our_seconds, "other_seconds": other_seconds},
        "forward and backward, float32; the error is that of the gradients, relative to the largest",
    )


def step_record(repeats: int, rows: int = 16) -> Record:
    """A forward and backward pass on letters, the optimiser's step left out on both sides."""
    torch.manual_seed(0)
    tokens, index = torch.randint(27, (rows, 64)), torch.arange(rows)
    flow = TextFlow(TextFlowConfig(local_mixing=7))
    discrete = Autoregressive(AutoregressiveConfig(local_mixing=7))

    def ours() -> None:
        noise = Draws(0, 0).normal("latents", index, (64, flow.config.dim))
        flow(tokens, noise).bound().mean().neg().backward()

    def other() -> None:
        discrete.log_prob(tokens).mean().neg().backward()

    seconds = paired(ours, other, repeats, warm_up=2)
    return Record("mixd-step", *seconds, "s", None, {"rows": rows, "tokens": 64, "width": 128, "layers": 2})


def trained(steps: int, **model: Any) -> TextFlow:
    """A flow of letters after a few steps of its recipe."""
    recipe: Any = change(catalogue.recipe("kjv-flow"), {"model": {"local_mixing": 7, **model}})
    task = TextFlowTask(recipe)
    source, optimizer = task.train_source(), task.optimizers(task.modules())["model"]
    for step in range(steps):
        places = numpy_generator("benchmark", step).integers(len(source), size=16)
        batch = {**source.batch(places), "index": torch.from_numpy(places)}
        (update,) = task.step(task.modules(), batch, Draws(0, step))
        optimizer.zero_grad()
        update.loss.backward()
        optimizer.step()
    return task.model.eval()


def jacobi_record(name: str, flow: TextFlow, num: int) -> Record:
    """Samples of a flow from the same noise; ``max_error`` is the largest difference of their latents, and the details
    tell the calls of Jacobi's method within blocks of positions that follow each other."""
    u = base_noise(flow, torch.arange(num), flow.config.length, 0)
    ours, other = invert_flow(flow, u, 0, 1e-4), invert_flow(flow, u)
    error = float((ours.latents - other.latents).abs().max())
    blocks = {str(size): invert_flow(flow, u, size, 1e-4).calls for size in (2, 4, 8, 16, 32) if size < u.shape[1]}
    details = {"ours_residual": ours.residual, "other_residual": other.residual, "calls_in_blocks": blocks}
    sizes = {"texts": num, "tokens": flow.config.length, "couplings": len(flow.chain)}
    return Record(name, ours.calls, other.calls, "calls", error, sizes, details)


def patch_record(flows: tuple[TextFlow, TextFlow], num: int) -> Record:
    """Samples of flows of four tokens a position and of one, both one position after the other."""
    made = [invert_flow(flow, base_noise(flow, torch.arange(num), flow.config.length, 0)) for flow in flows]
    sizes = {"texts": num, "tokens": flows[0].config.length, "couplings": len(flows[0].chain)}
    return Record("patch4-calls", made[0].calls, made[1].calls, "calls", None, sizes)


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """All records."""
    emit(memory_record(64 if quick else 512, 512 if quick else 4096, 16))
    for count in (2, 27, 64):
        for record in inverse_records(count, 500 if quick else 6000, 2 if quick else 7):
            emit(record)
        emit(zuko_record(count, 500 if quick else 6000, 2 if quick else 7))
    emit(step_record(3 if quick else 31))
    steps, num = (20, 2) if quick else (1000, 16)
    emit(jacobi_record("jacobi-calls", trained(steps), num))
    shape: dict[str, Any] = {"couplings": ["mix-d", "mix-1"], "layers": [1, 1], "components": [27, 8], "dim": 6}
    stack = trained(steps, **shape)
    emit(jacobi_record("jacobi-calls-stack", stack, num))
    emit(patch_record((trained(steps // 10, patch=4, **shape), stack), num))


if __name__ == "__main__":
    sys.exit(main("text_flows", benchmarks))
