"""The fixtures' operators, and small random ones for property-based tests."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tenfold.quasiperiodic.operators.hopping import Hopping, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.operators.phases import lattice_orbit
from tenfold.quasiperiodic.operators.potentials import TrigPolynomial

FIXTURES = Path(__file__).parent.parent / "fixtures" / "quasiperiodic"
CASES = ("dense1d_case0", "dense1d_case1")


def fixture(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def chain(z: dict[str, np.ndarray]) -> LongRange:
    """The operator of dense1d_case*."""
    potential = TrigPolynomial(z["pot_k"], z["pot_cos"], z["pot_sin"])
    return LongRange(Hopping(z["hop_m"], z["hop_a"]), potential, lattice_orbit(z["omega"], z["theta"]), float(z["lam"]))


def plane(z: dict[str, np.ndarray]) -> LongRange:
    """The operator of dense2d: 2 cos 2πφ₀ + cos 2π(φ₁ + 0.1)."""
    angle = 0.2 * np.pi
    potential = TrigPolynomial([[1, 0], [0, 1]], [2.0, np.cos(angle)], [0.0, -np.sin(angle)])
    return LongRange(
        symmetric(z["offsets"], z["coef"]), potential, lattice_orbit(z["Omega"], z["theta"]), float(z["lam"])
    )


def random_operator(seed: int, dim: int = 1, reach: int = 3, complex_: bool = False, torus: int = 2) -> LongRange:
    """Random hopping of a given range, random trigonometric potential."""
    random = np.random.default_rng(seed)
    offsets = random.integers(-reach, reach + 1, (4, dim))
    offsets[0] = 0
    offsets[0, 0] = reach
    offsets = np.unique(np.where(offsets[:, :1] < 0, -offsets, offsets), axis=0)
    offsets = np.array([m for m in offsets if m.any() and not any((m == -o).all() for o in offsets)] or [[1] * dim])
    coefs = random.normal(size=len(offsets)) + 1j * random.normal(size=len(offsets)) * complex_
    hopping = symmetric(offsets, coefs if complex_ else coefs.real)
    potential = TrigPolynomial(random.integers(-2, 3, (3, torus)), random.normal(size=3), random.normal(size=3))
    omega = [["sqrt(2)", "sqrt(3)", "sqrt(5)"][:torus], ["sqrt(7)", "sqrt(11)", "sqrt(13)"][:torus]][:dim]
    return LongRange(hopping, potential, lattice_orbit(omega, random.random(torus)), float(random.normal()))


def random_state(seed: int, size: int, complex_: bool = True) -> np.ndarray:
    random = np.random.default_rng(seed)
    state = random.normal(size=size) + 1j * random.normal(size=size) * complex_
    state = state if complex_ else state.real
    return state / np.linalg.norm(state)


seeds = st.integers(0, 2**32 - 1)
