"""The same evolution in PyTorch: moments that can be differentiated in λ, θ and the hopping, on any device.

The Chebyshev sum is a polynomial of H, so that its derivative is exact for the polynomial; scale and shift of the
spectrum are constants. Nothing else in the room imports PyTorch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Inexact
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.quasiperiodic.dynamics.evolution import check_times, moment_weights, powers
from tenfold.quasiperiodic.operators.border import Numbers, amplitudes, choice, real, reals
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.intervals import symbol_range
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.matvec import fft_lengths
from tenfold.quasiperiodic.operators.phases import LatticeOrbit, to_unit
from tenfold.quasiperiodic.operators.potentials import Function, TrigPolynomial
from tenfold.quasiperiodic.operators.states import Initial, on_box
from tenfold.quasiperiodic.operators.windows import NORMS
from tenfold.quasiperiodic.propagation.bessel import degree
from tenfold.quasiperiodic.propagation.chebyshev import coefficients
from tenfold.quasiperiodic.propagation.methods import check_phases, check_tol
from tenfold.shifts.costs import Watch, require

# A tensor, which may want a gradient, or numbers.
Given: TypeAlias = Any


def torch_states(
    box: Box,
    phi: Initial,
    times: Numbers,
    *,
    lam: Given | None = None,
    theta: Given | None = None,
    coefs: Given | None = None,
    tol: Numbers = 1e-12,
    device: torch.device | str = "cpu",
) -> Complex128[Tensor, "times *batch N"]:
    """ψ(t) in the box as the system.

    Args:
        lam: λ as a tensor, () or (batch,); the operator's without it.
        theta: θ as a tensor, (b,) or (batch, b); the orbit's without it. The phases' values stay exact: only the
            difference to the tensor's own value is carried in floating point.
        coefs: the hopping coefficients as a tensor in the order of ``box.hopping.offsets``.
        device: where everything runs, in double precision.

    Raises UsageError for kernels, step potentials (with theta), or coefficients that are not Hermitian."""
    sequence, tol = check_times(times), check_tol(tol)
    for read, name, given in ((reals, "lambda", lam), (reals, "theta", theta), (amplitudes, "coefs", coefs)):
        # Finite numbers of the right kind.
        if given is not None and not read(given, name).size:
            raise UsageError(f"{name} is empty; give at least one number")
    hopping = box.hopping
    if isinstance(hopping, Kernel):
        raise UsageError("the torch backend needs a translation-invariant hopping, and a kernel is none")
    a = _tensor(hopping.coefs if coefs is None else coefs, device)
    a = a.to(torch.complex128 if a.is_complex() else torch.float64)
    if a.shape != (len(hopping.offsets),):
        raise UsageError(f"coefs has shape {tuple(a.shape)}; the hopping has {len(hopping.offsets)} offsets")
    low, high = symbol_range(replace(hopping, coefs=a.detach().cpu().numpy()))  # refuses what is not Hermitian
    potential = _potential(box, lam, theta, device)
    low, high = low + float(potential.detach().min()), high + float(potential.detach().max())
    c, h = 0.5 * (low + high), max(0.5 * (high - low), 1e-300)
    start = torch.as_tensor(on_box(box, phi).copy(), device=device)
    real = not a.is_complex() and not start.is_complex()
    start = start.to(torch.float64 if real else torch.complex128)
    shape = torch.broadcast_shapes(start.shape, potential.shape)
    multiply = _product(box, a, real)
    diagonal = 2 / h * (potential - c)
    check_phases(float(np.abs(sequence).max()), max(abs(low), abs(high)))
    # Autograd keeps every vector of the recurrence.
    kept = degree(h * float(np.abs(sequence).max())) * (shape.numel() * 32 + 8 * len(sequence))
    require(kept + 64 * len(sequence) * shape.numel(), f"the vectors of {box.size:,} sites to t = {sequence.max():g}")
    table, _ = coefficients(h * sequence, tol)
    weights = torch.as_tensor(table.T.copy(), device=device).to(start.dtype)
    before, now = start.expand(shape), (0.5 * diagonal * start + multiply(start) / h).expand(shape)
    even = torch.zeros((len(sequence), *shape), dtype=start.dtype, device=device)
    odd = torch.zeros_like(even)
    watch = Watch(f"a differentiable evolution to t = {sequence.max():g}", "shorter times or a smaller box are quicker")
    for first in range(0, len(table), 64):
        watch(first, len(table))
        vectors = []
        for _ in range(first, min(first + 64, len(table))):
            vectors.append(before)
            before, now = now, diagonal * now + multiply(now) * (2 / h) - before
        block, part = torch.stack(vectors), weights[:, first : first + len(vectors)]
        even = even + torch.tensordot(part[:, 0::2], block[0::2], 1)
        if len(vectors) > 1:
            odd = odd + torch.tensordot(part[:, 1::2], block[1::2], 1)
    turn = torch.as_tensor(np.exp(-1j * c * sequence), device=device).reshape(-1, *[1] * len(shape))
    states = torch.complex(even, -odd) if real else even - 1j * odd
    return turn * states


def torch_moments(
    box: Box,
    phi: Initial,
    times: Numbers,
    p: Numbers = 2.0,
    *,
    norm: str = "linf",
    lam: Given | None = None,
    theta: Given | None = None,
    coefs: Given | None = None,
    tol: Numbers = 1e-12,
    device: torch.device | str = "cpu",
) -> Float64[Tensor, "times *batch"]:
    """⟨|X|^p⟩(t) in the box, differentiable in ``lam``, ``theta`` and ``coefs``."""
    p = real(p, "p")
    powers(p)
    choice(norm, "norm", NORMS)
    states = torch_states(box, phi, times, lam=lam, theta=theta, coefs=coefs, tol=tol, device=device)
    distance = torch.as_tensor(moment_weights(box, np.array([p]), norm)[:, 0], device=device)
    return (states.real**2 + states.imag**2) @ distance


def _tensor(given: Given, device: torch.device | str) -> Tensor:
    """A tensor as it is, so that a gradient flows into it; numbers of other types in double precision."""
    return (given if isinstance(given, Tensor) else torch.tensor(amplitudes(given, "a number"))).to(device)


def _potential(
    box: Box, lam: Given | None, theta: Given | None, device: torch.device | str
) -> Float64[Tensor, "*batch N"]:
    operator = box.operator
    strength = _tensor(operator.lam if lam is None else lam, device).to(torch.float64)
    if operator.potential is None or operator.orbit is None:
        if lam is not None or theta is not None:
            raise UsageError("the operator has no potential to differentiate; give an operator with one")
        return torch.zeros(box.size, dtype=torch.float64, device=device)
    if theta is None:
        values = operator.potential(operator.orbit.phases(box.lower, box.shape))
        return strength[..., None] * torch.as_tensor(values, device=device)
    potential = operator.potential
    if not isinstance(potential, TrigPolynomial | Function):
        raise UsageError("a step potential has no derivative in theta; differentiate in lam or coefs")
    if not isinstance(operator.orbit, LatticeOrbit):
        raise UsageError("theta of a skew shift does not shift its potential; differentiate in lam or coefs")
    shift = torch.atleast_1d(_tensor(theta, device).to(torch.float64))
    exact = operator.at(shift.detach().cpu().numpy().tolist()).orbit
    assert exact is not None
    points = torch.as_tensor(to_unit(exact.phases(box.lower, box.shape)), device=device)
    x = points + (shift - shift.detach())[..., None, :]
    values = potential.real(x, torch.cos, torch.sin) if isinstance(potential, TrigPolynomial) else potential.call(x)
    return strength[..., None] * values


def _product(box: Box, coefs: Inexact[Tensor, " r"], real: bool) -> Callable[[Tensor], Tensor]:
    """A ψ by FFT over the box's axes."""
    offsets, lengths = box.hopping.offsets, list(fft_lengths(box))
    axes = list(range(-len(lengths), 0))
    place = tuple(torch.as_tensor(offsets[:, j] % lengths[j], device=coefs.device) for j in range(len(lengths)))
    kernel = torch.zeros(lengths, dtype=coefs.dtype, device=coefs.device).index_put(place, coefs, accumulate=True)
    forward, back = (torch.fft.rfftn, torch.fft.irfftn) if real else (torch.fft.fftn, torch.fft.ifftn)
    symbol = forward(kernel, dim=axes)
    inside = (..., *[slice(0, n) for n in box.shape])

    def multiply(states: Inexact[Tensor, "*batch N"]) -> Inexact[Tensor, "*batch N"]:
        shaped = states.reshape(*states.shape[:-1], *box.shape)
        return back(forward(shaped, lengths, axes) * symbol, lengths, axes)[inside].reshape(states.shape)

    return multiply
