"""Samples of a flow: noise to data, guided and denoised, with one interface to all solvers.

Every solver computes the same fixed point (see ``tenfold.flows.chain``), guided or not. "sequential" solves
it token by token; "jacobi", "gs" and "frontier" sweep many tokens at once and check the result; "selective"
(SeJD, arXiv 2505.24791) is sequential in the first sampled block and stops early in the others: fast and
approximate; "auto" takes, block by block, what a saved calibration says is quickest.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.density import Denoising, denoise
from tenfold.flows.guidance import Guidance, parse_blocks
from tenfold.flows.network import FlowNetwork, GivenCondition, evaluating
from tenfold.flows.options import GuidedSampling
from tenfold.flows.solvers.choice import Solver, solver_called
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.solvers.inversion import invert_states, sample_bytes
from tenfold.flows.solvers.plan import SEQUENTIAL, Plan
from tenfold.nn.border import Values, as_tensor, floats
from tenfold.nn.memory import free_bytes, require
from tenfold.settings.values import read
from tenfold.training.streams import Draws


def draw_samples(
    flow: FlowNetwork,
    n: int,
    condition: GivenCondition | int | None = None,
    *,
    guidance: Guidance | None = None,
    solver: Solver = SEQUENTIAL,
    denoising: Denoising | None = None,
    clip: bool = False,
    noise: Values | None = None,
    generator: torch.Generator | None = None,
    certify: bool | None = None,
    compiled: bool = False,
) -> tuple[Float[Tensor, "n *shape"], SamplingInfo]:
    """n samples (n, *shape) of a flow, and the record of the work.

    Args:
        flow: its training mode is left as it was, sampling uses evaluation mode.
        n: number of samples.
        condition: integer labels (n,) with −1 for none, one label for all, class mixtures (n, classes), contexts
            (n, context), or None.
        guidance: see ``tenfold.flows.guidance.Guidance``; None for no guidance.
        solver: a ``Plan`` for all blocks, one each in sampling order, ``Selective`` or ``Auto``.
        denoising: removes the noise that the flow was trained with by one step along the score.
        clip: clip the result to [−1, 1], after denoising.
        noise: standard normal (n, T, D) to start from; else drawn with ``generator``, which gives each sample a number
            of its own (``row_numbers``): samples depend neither on how many there are nor on how they are batched.
        certify: check the result of each block by one more pass; by default what is not sequential is checked.
        compiled: compile the sequential solver's step with static shapes (CUDA graphs); worth its minute of
            compilation for many samples on a GPU.

    Exact solvers whose check fails are finished by the sequential solver, from the first bad token. Raises
    TenfoldError, naming block, token and sample, where that one overflows too: nothing is redrawn; and
    UsageError for bad arguments.
    """
    z = draw_noise(flow, n, noise, generator)
    if isinstance(condition, int | np.integer):
        condition = torch.full((n,), int(condition), dtype=torch.int64, device=z.device)
    start = z * flow.var.to(z.dtype).sqrt()
    states, info = invert_states(
        flow, start, condition, guidance, solver, check=certify, compiled=compiled, generator=generator
    )
    x = flow.unpatchify(states[-1])
    if denoising is not None:
        with evaluating(flow):
            x = denoise(flow, x, denoising.sigma, condition, denoising.rate)
    return (x.clamp(-1.0, 1.0) if clip else x), info


@overload
def sample(
    flow: FlowNetwork,
    n: int,
    condition: GivenCondition | int | None = ...,
    *,
    return_info: Literal[True],
    **options: Any,
) -> tuple[Tensor, SamplingInfo]: ...


@overload
def sample(flow: FlowNetwork, n: int, condition: GivenCondition | int | None = ..., **options: Any) -> Tensor: ...


def sample(
    flow: FlowNetwork,
    n: int,
    condition: GivenCondition | int | None = None,
    *,
    guidance: float | Guidance = 0.0,
    solver: str | Solver = "sequential",
    return_info: bool = False,
    **options: Any,
) -> Tensor | tuple[Tensor, SamplingInfo]:
    """n samples (n, *shape) of a flow; with ``return_info`` a pair, the samples and a ``SamplingInfo``.

    ``draw_samples`` in a user's words: ``guidance`` may be its weight, and ``solver`` a name ("sequential", "jacobi",
    "gs", "selective", "frontier", "auto"). Their other fields (those of ``Guidance``, such as ``rule``, and of
    ``Plan``, such as ``tol``) then stand among the ``options``, as do ``denoise_sigma`` and ``denoise_rate`` for a
    ``Denoising``. Everything else in ``options`` is an argument of ``draw_samples``.

    >>> from tenfold.tarflow import TarFlow, TarFlowConfig
    >>> sample(TarFlow(TarFlowConfig(shape=(1, 8, 8))), 2, solver="frontier", window=4).shape
    torch.Size([2, 1, 8, 8])
    """
    if not isinstance(guidance, Guidance):
        guidance = Guidance(guidance, **_taken(options, Guidance))
    if isinstance(solver, str):
        solver = solver_called(solver, **_taken(options, Plan))
    if (sigma := options.pop("denoise_sigma", None)) is not None:
        options["denoising"] = Denoising(sigma, options.pop("denoise_rate", 1.0))
    x, info = draw_samples(flow, n, condition, guidance=guidance, solver=solver, **options)
    return (x, info) if return_info else x


def _taken(options: dict[str, Any], kind: type[Guidance] | type[Plan]) -> dict[str, Any]:
    """The fields of ``kind`` among the options, which lose them."""
    return {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}


def guidance_of(options: GuidedSampling) -> Guidance:
    """What options of ``tenfold sample`` say about guidance."""
    blocks = parse_blocks(options.blocks)
    return Guidance(
        options.guidance, options.rule, options.what, options.schedule, blocks, options.attention_temperature
    )


def solver_of(options: GuidedSampling) -> Solver:
    """What options of ``tenfold sample`` say about the solver."""
    return solver_called(options.solver, tol=options.tolerance)


def draw_noise(
    flow: FlowNetwork, n: int, noise: Values | None, generator: torch.Generator | None
) -> Float[Tensor, "n t d"]:
    """Standard normal (n, T, D) on the flow's device, in single precision at least, or ``noise`` checked."""
    n = read(int, n, "n")
    if n < 1:
        raise UsageError(f"n is {n}; ask for at least one sample")
    if noise is None:
        require(n * flow.config.dimensions, flow.var.device, f"{n} samples", "take fewer at a time")
        return keyed_noise(flow, 0, row_numbers(n, generator))
    z = as_tensor(noise, "the noise", flow.precision)
    shape = (n, flow.config.tokens, flow.config.token_dim)
    if tuple(z.shape) != shape:
        raise UsageError(f"the noise has shape {tuple(z.shape)}; {n} samples of this flow need {shape}")
    return floats(z, "the noise", flow.precision).to(flow.var.device)


def keyed_noise(flow: FlowNetwork, seed: int, rows: Int64[Tensor, "n"]) -> Float[Tensor, "n t d"]:
    """Standard normal (n, T, D) on the flow's device: a row is a function of (seed, its number in ``rows``)."""
    shape = (flow.config.tokens, flow.config.token_dim)
    fix = f"take fewer at a time, {max(1, free_bytes(flow.var.device) // (100 * math.prod(shape)))} say (--batch)"
    require(len(rows) * 48 * math.prod(shape), flow.var.device, f"the noise of {len(rows)} samples", fix)
    return Draws(seed, 0).normal("sample", rows.to(flow.var.device), shape, flow.precision)


def seeded_noise(flow: FlowNetwork, seed: int, batches: Sequence[int]) -> Iterator[Float[Tensor, "b t d"]]:
    """The noise of ``tenfold sample``, standard normal (b, T, D) for each of ``batches`` on the flow's device: the rows
    of one stream, whatever the batches are.

    PyTorch draws sixteen numbers together on the CPU, so that multiples of as many make one stream."""
    shape = (flow.config.tokens, flow.config.token_dim)
    generator, left = torch.Generator().manual_seed(seed % (1 << 63)), torch.empty(0, dtype=flow.precision)
    for count in batches:
        require(8 * count * math.prod(shape), left.device, f"the noise of {count} samples", "lower --batch")
        need = count * math.prod(shape) - left.numel()
        left = torch.cat([left, torch.randn(-(-need // 16) * 16, dtype=left.dtype, generator=generator)])
        noise, left = left[: count * math.prod(shape)], left[count * math.prod(shape) :]
        yield noise.reshape(count, *shape).to(flow.var.device)


def row_numbers(n: int, generator: torch.Generator | None) -> Int64[Tensor, "n"]:
    """Numbers that n samples have for themselves, by which all that is drawn for them is keyed; the next ones of the
    generator (or of torch's own), so that two calls for n and m samples draw what one for n + m does."""
    device = "cpu" if generator is None else generator.device
    if generator is not None and generator.device.type == "cuda":
        # A kernel's numbers depend on how many it draws; the generator's own count of them does not.
        first = generator.get_offset()
        generator.set_offset(first + 4 * n)
        return torch.arange(n, device=device) + (first // 4) + (generator.initial_seed() % (1 << 30) << 32)
    return torch.randint(1 << 62, (n,), generator=generator, device=device)


def at_once(flow: FlowNetwork, most: int = 256) -> int:
    """How many samples evaluation draws together, ``most`` at most, in half of the memory that is free."""
    return max(1, min(most, free_bytes(flow.var.device) // (2 * sample_bytes(flow, guided=True))))
