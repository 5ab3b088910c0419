"""Every array, whole number and real number that the faces of operators, dynamics and spectra take: right, or one
sentence. The tables name the entry points; a name of the face that is in none must be excused below."""

import inspect
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from tenfold import quasiperiodic as room
from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic import hopping, potentials, presets

OPERATOR = room.presets.aubry_andre(0.7, theta=0.3)
BOX = OPERATOR.box(6)
STATE = np.zeros(13)
STATE[[2, 6]] = -1, 1
THREE, RISING = np.array([3.0, 5.0, 8.0]), np.array([2.0, 5.0, 8.0, 20.0, 40.0])

Entry = tuple[np.ndarray, Callable[[object], object]]
ARRAYS: dict[str, Entry] = {
    "evolve phi": (STATE, lambda v: room.evolve(BOX, v, [1.0, 2.0]).psi),
    "evolve times": (THREE, lambda v: room.evolve(BOX, None, v).psi),
    "Evolution.moments": (THREE, lambda v: room.evolve(BOX, None, [1.0]).moments(v)),
    "Box.matvec": (STATE, lambda v: BOX.matvec(v)),
    "time_averaged phi": (STATE, lambda v: room.time_averaged(BOX, v, 2.0).probabilities),
    "time_averaged quadrature": (STATE, lambda v: room.time_averaged(BOX, v, 0.1, method="quadrature").probabilities),
    "time_averaged resolvent": (STATE, lambda v: room.time_averaged(BOX, v, 2.0, method="resolvent").probabilities),
    "time_averaged T": (THREE, lambda v: room.time_averaged(BOX, None, v).probabilities),
    "time_averaged p": (THREE, lambda v: room.time_averaged(BOX, None, 2.0, v).moments),
    "eigenbasis_moments state": (STATE, lambda v: room.eigenbasis_moments(BOX, v, [2.0], 2.0)),
    "eigenbasis_moments scales": (THREE, lambda v: room.eigenbasis_moments(BOX, STATE, v, 2.0)),
    "transport_exponents times": (RISING, lambda v: room.transport_exponents(v, RISING).beta.slope),
    "transport_exponents moments": (RISING, lambda v: room.transport_exponents(RISING, v).beta.slope),
    "lyapunov_exponents": (THREE, lambda v: room.lyapunov_exponents(OPERATOR, v, 512).exponents),
    "green_columns": (np.array([3.0, 5.0, -7.0]), lambda v: room.green_columns(BOX, v)),
    "determinant_scan": (np.array([0.0, 1.0]), lambda v: room.determinant_scan(OPERATOR, 4, 3, v).log_abs),
    "theta_scan": (np.array([0.0, 1.0]), lambda v: room.theta_scan(OPERATOR, 3, 9, v, 0.5, 0.5).rates),
    "bloch_spectrum": (THREE, lambda v: room.bloch_spectrum(OPERATOR, 5, v)),
    "torch_states phi": (STATE, lambda v: room.torch_states(BOX, v, [1.0]).numpy()),
    "torch_states times": (THREE, lambda v: room.torch_states(BOX, None, v).numpy()),
    "torch_states lam": (THREE, lambda v: room.torch_states(BOX, None, [1.0], lam=v).numpy()),
    "torch_moments theta": (np.array([1.0]), lambda v: room.torch_moments(BOX, None, [1.0], theta=v).numpy()),
    "torch_moments coefs": (np.array([2.0, 2.0]), lambda v: room.torch_moments(BOX, None, [1.0], coefs=v).numpy()),
    "Hopping coefs": (np.array([2.0, 2.0]), lambda v: room.Hopping([1, -1], v).coefs),
    "Hopping offsets": (np.array([1, -1]), lambda v: room.Hopping(v, [1.0, 1.0]).offsets),
    "hopping.symmetric": (np.array([2.0, 3.0]), lambda v: hopping.symmetric([1, 2], v).coefs),
    "TrigPolynomial cos": (np.array([2.0, 3.0]), lambda v: potentials.TrigPolynomial([[1], [2]], v, [0, 0]).cos),
    "TrigPolynomial k": (np.array([2, 3]), lambda v: potentials.TrigPolynomial([v], [1], [0]).k),
    "Steps.at": (np.array([2.0, 3.0]), lambda v: potentials.Steps.at([0, 0.5], v).values),
}


def _within(bound: object) -> float:
    return bound.good_within or 0.0


WHOLE: dict[str, Callable[[object], object]] = {
    "LongRange.box": lambda v: OPERATOR.box(v).potential,
    "LongRange.box centre": lambda v: OPERATOR.box(3, v).potential,
    "LongRange.ring": lambda v: OPERATOR.ring(v).potential,
    "Box.index": lambda v: BOX.index(v),
    "Box.distance": lambda v: BOX.distance("linf", v) if v is not None else BOX.index(v),
    "evolve box": lambda v: room.evolve(OPERATOR, None, [1e-9], box=v, tol=0.1, method="dense").psi,
    "evolve centre": lambda v: room.evolve(OPERATOR, None, [0.1], centre=v, tol=1e-6).psi,
    "time_averaged box": lambda v: room.time_averaged(OPERATOR, None, 0.1, box=v, edge_tol=2.0).moments,
    "lyapunov_exponents steps": lambda v: room.lyapunov_exponents(OPERATOR, 0.3, v).exponents,
    "lyapunov_exponents start": lambda v: room.lyapunov_exponents(OPERATOR, 0.3, 512, v).exponents,
    "determinant_of side": lambda v: room.determinant_of(OPERATOR, v, 0.3)([0.1]),
    "determinant_scan start": lambda v: room.determinant_scan(OPERATOR, 5, 0.3, [0.1], v).log_abs,
    "theta_grid": lambda v: room.theta_grid(v),
    "theta_grid torus": lambda v: room.theta_grid(2, v),
    "theta_scan reach": lambda v: room.theta_scan(OPERATOR, v, 0.3, [0.1], 0.5, 0.5).norms,
    "bloch_spectrum": lambda v: room.bloch_spectrum(OPERATOR, v, [0.1]),
    "transport_bound b": lambda v: room.transport_bound(v, 1.0, 0.5).distance,
    "transport_bound quotients": lambda v: _within(room.transport_bound(1, 1.0, 0.2, quotients=[v, 9, 9, 9], side=2)),
    "transfer_bound N": lambda v: room.transfer_bound(OPERATOR, 3.0, v, 50).value,
    "hopping.nearest_neighbour": lambda v: hopping.nearest_neighbour(v).coefs,
    "hopping.exponential": lambda v: hopping.exponential(1.0, 1.0, v, 2).coefs,
    "hopping.power_law": lambda v: hopping.power_law(1.0, 2.0, v).coefs,
    "hopping.from_symbol": lambda v: hopping.from_symbol(np.cos, v).coefs,
    "Kernel": lambda v: room.Kernel(lambda n, m: np.zeros(len(n)), v, 1.0, 1.0).offsets,
    "presets.golden_convergent": lambda v: [float(presets.golden_convergent(v))],
    "skew_shift": lambda v: presets.skew_shift(1.0).box(2, v).potential,
}
REAL: dict[str, Callable[[object], object]] = {
    **{
        f"presets.{name}": lambda v, name=name: getattr(presets, name)(v).box(2).dense()
        for name in (
            "aubry_andre",
            "maryland",
            "sturmian",
            "fibonacci",
            "exponential_hopping",
            "multi_frequency",
            "lattice_cosines",
            "skew_shift",
        )
    },
    "presets.free": lambda v: presets.free(1, v).box(2).dense(),
    "presets.ganeshan_pixley_das_sarma": lambda v: presets.ganeshan_pixley_das_sarma(1.0, v).box(2).dense(),
    "presets.free_lyapunov": presets.free_lyapunov,
    "presets.aubry_andre_lyapunov": presets.aubry_andre_lyapunov,
    "presets.maryland_lyapunov": lambda v: presets.maryland_lyapunov(v, 1.0),
    "presets.mobility_edge": lambda v: presets.mobility_edge(1.0, 1.0, v),
    "presets.free_long_range_second_moment": lambda v: presets.free_long_range_second_moment(OPERATOR.hopping, v),
    "hopping.exponential t": lambda v: hopping.exponential(v, 1.0).coefs,
    "LongRange lam": lambda v: room.LongRange(OPERATOR.hopping, OPERATOR.potential, OPERATOR.orbit, v).box(2).dense(),
    "evolve tol": lambda v: room.evolve(BOX, None, 1.0, tol=v).psi,
    "evolve amplitude": lambda v: room.evolve(BOX, {0: v}, 1.0).psi,
    "evolve one time": lambda v: room.evolve(BOX, None, v).psi,
    "time_averaged one T": lambda v: room.time_averaged(BOX, None, v).probabilities,
    "time_averaged resolvent": lambda v: room.time_averaged(BOX, None, v, method="resolvent").probabilities,
    "time_averaged edge_tol": lambda v: room.time_averaged(OPERATOR, None, 1.0, edge_tol=v if v is not None else "").T,
    "Evolution.moments p": lambda v: room.evolve(BOX, None, 1.0).moments(v),
    "transport_exponents p": lambda v: room.transport_exponents(RISING, RISING, v).beta.slope,
    "transport_bound q": lambda v: room.transport_bound(1, v, 0.5).moment,
    "transport_bound s": lambda v: room.transport_bound(1, 1.0, v).moment,
    "transfer_bound T": lambda v: room.transfer_bound(OPERATOR, v, 3, 50).value,
    "lyapunov_exponents energy": lambda v: room.lyapunov_exponents(OPERATOR, v, 512).exponents,
    "green_decay": lambda v: room.green_decay(BOX, v).rate,
    "good_box": lambda v: room.good_box(BOX, v, 0.5, 0.5).norm,
    "determinant_scan energy": lambda v: room.determinant_scan(OPERATOR, 3, v, [0.1]).log_abs,
    "front_radius": lambda v: float(room.front_radius(OPERATOR.hopping, v, 1e-3)),
    "torch_states lam": lambda v: room.torch_states(BOX, None, 1.0, lam=v if v is not None else "").numpy(),
    "torch_moments p": lambda v: room.torch_moments(BOX, None, 1.0, v).numpy(),
}
# Names of the faces that take no numbers of their own.
EXCUSED = {"Box", "BoxTooSmallError", "Evolution", "eigenvalues", "hopping", "potentials", "presets", "lattice_orbit",
           "skew_orbit", "kernel_from_sparse", "aubry_andre_localisation_length"}  # fmt: skip
DTYPES = (bool, "i1", "u1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "longdouble", "c8", "c16", "clongdouble")


def variants(a: np.ndarray) -> Iterator[tuple[str, object]]:
    for dtype in DTYPES:
        unsigned = dtype is bool or np.dtype(dtype).kind == "u"
        yield str(dtype), (np.abs(a) if unsigned else a).astype(dtype)
    yield "list", a.tolist()
    yield "strided", np.repeat(a, 2)[::2]
    frozen = a.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "fractions", np.array([Fraction(x) for x in a.tolist()], dtype=object)
    yield "float16 tensor", torch.tensor(a, dtype=torch.float16)
    yield "bfloat16 tensor", torch.tensor(a, dtype=torch.bfloat16)


def outcome(call: Callable[[object], object], value: object) -> np.ndarray | str:
    """What an entry point gives, finite, or the one sentence that it refuses with."""
    sentence = ""
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(call(value))
    except TenfoldError as error:
        sentence = str(error)
    if sentence:
        assert "\n" not in sentence
        return sentence
    assert found.dtype.kind == "O" or np.isfinite(found).all(), value
    return found


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_type(name: str) -> None:
    base, call = ARRAYS[name]
    for kind, given in variants(base):
        plain = given.double().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
        found = outcome(call, given)
        if isinstance(found, str):
            # Complex and fractional types where real or whole numbers are meant; bools and unsigned that repeat.
            assert plain.dtype.kind in "cfObu", (kind, found)
            continue
        exact = np.asarray(call(plain.astype(np.complex128 if plain.dtype.kind == "c" else base.dtype)))
        assert found.shape == exact.shape, kind
        assert np.abs(found - exact).max(initial=0.0) < 1e-11, kind
    for bad in (base[:0], base * np.nan, base + np.inf, base.astype(str), [None], base.astype("M8[s]"), [[1], [1, 2]]):
        with pytest.raises(UsageError):
            call(bad)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_of_any_type(name: str) -> None:
    call = WHOLE[name]

    expected = outcome(call, 3)
    for kind in (np.int8, np.uint8, np.int64, np.uint64, np.array):
        found = outcome(call, kind(3))
        assert found == expected if isinstance(expected, str) else (found == expected).all(), kind
    for bad in (3.0, np.float64(3), "3", None, True, np.bool_(True), np.nan, 1j):
        assert isinstance(outcome(call, bad), str), bad
    for far in (2**62, 2**63 - 1, 2**63, -(2**63), 2**64 + 3, 10**30, np.uint64(2**63)):
        found = outcome(call, far)
        # Nothing wraps: what is 2^64 further on is refused, or another result.
        assert isinstance(found, str) or far != 2**64 + 3 or not np.array_equal(found, expected), far


@pytest.mark.parametrize("name", REAL)
def test_real_numbers_of_any_type(name: str) -> None:
    call = REAL[name]

    expected = outcome(call, 0.5)
    for kind in (np.float16, np.float32, np.longdouble, Fraction, Decimal, np.array, torch.tensor):
        found = outcome(call, kind(0.5))
        same = isinstance(found, str) if isinstance(expected, str) else np.abs(found - expected).max() < 1e-11
        assert same, (kind, found)
    for bad in (np.nan, np.inf, -np.inf, "0.5", None, {}, 10**400):
        assert isinstance(outcome(call, bad), str), bad
    for large in (0, 1e-300, 1e15, 1e200, 1e308, -1e308):
        outcome(call, large)


def test_every_name_is_in_a_table_or_excused() -> None:
    words = " ".join([*ARRAYS, *WHOLE, *REAL, *EXCUSED]).replace(".", " ").split()
    for name in dir(room):
        module = getattr(getattr(room, name), "__module__", "") or ""
        if any(f"quasiperiodic.{part}." in module for part in ("operators", "propagation", "dynamics", "spectral")):
            assert name in words, name
    for module in (hopping, presets):
        for name, made in vars(module).items():
            own = inspect.isfunction(inspect.unwrap(made)) and made.__module__ == module.__name__
            assert not own or name.startswith("_") or name in words or name == "transform", name
