"""Named models. Each says its convention, and what is known in closed form.

Frequencies are anything ``tenfold.shifts.Frequency`` reads: numbers, fractions, "golden", "sqrt(2)", "cubic".
"""

from fractions import Fraction
from math import acosh, cosh, hypot, inf, log, pi
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import LARGEST, Numbers, Whole, real, whole
from tenfold.quasiperiodic.operators.hopping import Hopping, exponential, nearest_neighbour
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.operators.phases import lattice_orbit, skew_orbit
from tenfold.quasiperiodic.operators.potentials import Function, Steps, TrigPolynomial
from tenfold.shifts.frequency import Frequency

_POLE = 1e-12


def free(dim: Whole = 1, t: Numbers = 1.0) -> LongRange:
    """(Hu)_n = t Σ_{|m|₁=1} u_{n−m}; from δ₀ ψ_n(t) is a product of Bessel functions and ⟨n_j²⟩ = 2 t² s²
    at time s."""
    return LongRange(nearest_neighbour(dim, t), name="free")


def aubry_andre(lam: Numbers, alpha: Any = "golden", theta: Any = 0.0, allow_resonant: bool = False) -> LongRange:
    """(Hu)_n = u_{n+1} + u_{n−1} + 2λ cos 2π(θ + nα) u_n.

    For irrational α the Lyapunov exponent on the spectrum is max(0, log λ); for λ > 1 eigenfunctions decay at
    that rate (localisation length 1/log λ), at a.e. θ and Diophantine α."""
    orbit = lattice_orbit(alpha, theta, allow_resonant)
    return LongRange(nearest_neighbour(), TrigPolynomial.cosine(2.0), orbit, lam, "Aubry-André")


def maryland(lam: Numbers, alpha: Any = "golden", theta: Any = 0.0, allow_resonant: bool = False) -> LongRange:
    """(Hu)_n = u_{n+1} + u_{n−1} + λ tan π(θ + nα) u_n. A phase within 1e-12 of a pole is refused."""

    poles = Function(
        lambda x: np.tan(pi * x[..., 0]) if isinstance(x, np.ndarray) else (pi * x[..., 0]).tan(),
        1, "tan", lambda x: np.abs(np.cos(pi * x[..., 0])) < _POLE, "lies on a pole of the tangent",
    )  # fmt: skip
    return LongRange(nearest_neighbour(), poles, lattice_orbit(alpha, theta, allow_resonant), lam, "Maryland")


def ganeshan_pixley_das_sarma(
    lam: Numbers, g: Numbers, alpha: Any = "golden", theta: Any = 0.0, allow_resonant: bool = False
) -> LongRange:
    """(Hu)_n = u_{n+1} + u_{n−1} + 2λ cos x/(1 − g cos x) u_n, x = 2π(θ + nα), |g| < 1 (Ganeshan, Pixley and
    Das Sarma, PRL 114 (2015) 146601). With hopping 1 the mobility edge is at g E = 2 sgn(λ)(1 − |λ|)."""
    g = real(g, "g")
    if not -1 < g < 1:
        raise UsageError(f"g is {g:g}; the potential 2 lambda cos/(1 - g cos) is bounded for |g| < 1 only")

    def deformed(x: Any) -> Any:
        c = np.cos(2 * pi * x[..., 0]) if isinstance(x, np.ndarray) else (2 * pi * x[..., 0]).cos()
        return 2 * c / (1 - g * c)

    orbit, potential = lattice_orbit(alpha, theta, allow_resonant), Function(deformed, 1, "2cos/(1 - g cos)")
    return LongRange(nearest_neighbour(), potential, orbit, lam, "Ganeshan-Pixley-Das Sarma")


def sturmian(lam: Numbers, alpha: Any = "golden", theta: Any = 0.0, allow_resonant: bool = False) -> LongRange:
    """(Hu)_n = u_{n+1} + u_{n−1} + λ 1[θ + nα mod 1 ∈ [1 − α, 1)] u_n; golden α: the Fibonacci Hamiltonian.

    The edge is the orbit's own phase of n = −1, so that θ = 0 counts n = −1 exactly."""
    orbit = lattice_orbit(alpha, theta, allow_resonant)
    edge = int(lattice_orbit(alpha, 0.0, allow_resonant).phases([-1], [1])[0, 0])
    return LongRange(nearest_neighbour(), Steps((0, edge), (0.0, 1.0)), orbit, lam, "Sturmian")


def fibonacci(lam: Numbers, theta: Any = 0.0) -> LongRange:
    """``sturmian`` at the golden mean."""
    return sturmian(lam, "golden", theta)


def exponential_hopping(
    v: Numbers,
    t: Numbers = 1.0,
    p: Numbers = 1.0,
    alpha: Any = "golden",
    theta: Any = 0.0,
    allow_resonant: bool = False,
) -> LongRange:
    """(Hu)_n = Σ_{m≠0} t e^{−p|m|} u_{n−m} + V cos 2π(θ + nα) u_n (Biddle and Das Sarma, PRL 104 (2010) 070601).

    Mobility edge at cosh p = (E + t)/V: with t > 0 the states below E = V cosh p − t are localised, those above
    extended."""
    orbit = lattice_orbit(alpha, theta, allow_resonant)
    return LongRange(exponential(t, p), TrigPolynomial.cosine(1.0), orbit, v, "exponential hopping")


def multi_frequency(
    lam: Numbers,
    alphas: Any = ("silver", "sqrt(3)"),
    theta: Any = 0.0,
    hopping: Hopping | None = None,
    allow_resonant: bool = False,
) -> LongRange:
    """λ Σ_j cos 2π(θ_j + n α_j) with the given hopping (nearest neighbours without one)."""
    orbit = lattice_orbit(alphas, theta, allow_resonant)
    return LongRange(hopping or nearest_neighbour(), _cosines(orbit.torus), orbit, lam, "multi-frequency")


def lattice_cosines(
    lam: Numbers, alphas: Any = ("golden", "silver"), theta: Any = 0.0, allow_resonant: bool = False
) -> LongRange:
    """Nearest neighbours on Z^d and λ Σ_j cos 2π(θ_j + n_j α_j): one frequency an axis, d of them."""
    axes = Frequency.of(alphas).components
    orbit = lattice_orbit([[a if a is b else 0 for b in axes] for a in axes], theta, allow_resonant)
    return LongRange(nearest_neighbour(orbit.dim), _cosines(orbit.dim), orbit, lam, "lattice cosines")


def _cosines(count: int) -> TrigPolynomial:
    return TrigPolynomial(np.eye(count, dtype=np.int64), np.ones(count), np.zeros(count))


def skew_shift(lam: Numbers, omega: Any = "golden", theta: Any = (0.0, 0.0), allow_resonant: bool = False) -> LongRange:
    """(Hu)_n = u_{n+1} + u_{n−1} + 2λ cos 2π x_b(n) u_n along the skew shift of T^b from θ (b numbers, b ≥ 1)."""
    orbit = skew_orbit(omega, theta, allow_resonant)
    potential = TrigPolynomial.cosine(2.0, [0] * (orbit.torus - 1) + [1])
    return LongRange(nearest_neighbour(), potential, orbit, lam, "skew shift")


# --- what is known in closed form ---------------------------------------------------------------------------


def free_lyapunov(energy: Numbers) -> float:
    """arccosh(|E|/2) outside [−2, 2], 0 inside, for V = 0 and hopping 1."""
    size = abs(real(energy, "the energy"))
    return acosh(size / 2) if size > 2 else 0.0


def aubry_andre_lyapunov(lam: Numbers) -> float:
    """max(0, log|λ|), on the spectrum and for irrational α."""
    size = abs(real(lam, "the coupling lambda"))
    return log(size) if size > 1 else 0.0


def aubry_andre_localisation_length(lam: Numbers) -> float:
    """1/log|λ|; inf where |λ| ≤ 1."""
    rate = aubry_andre_lyapunov(lam)
    return 1 / rate if rate > 0 else inf


def maryland_lyapunov(energy: Numbers, lam: Numbers) -> float:
    """L with 4 cosh L = √((2 + E)² + λ²) + √((2 − E)² + λ²), at every E."""
    energy, lam = real(energy, "the energy"), real(lam, "the coupling lambda")
    return acosh(max(1.0, hypot(2 + energy, lam) / 4 + hypot(2 - energy, lam) / 4))


def mobility_edge(v: Numbers, t: Numbers, p: Numbers) -> float:
    """E = V cosh p − t of ``exponential_hopping``."""
    v, t, p = real(v, "V"), real(t, "t"), real(p, "p", least=-700, below=700)
    return v * cosh(p) - t


def golden_convergent(denominator: Whole) -> Fraction:
    """The ratio F_{k−1}/F_k of Fibonacci numbers with F_k = ``denominator``."""
    a, b, denominator = 1, 1, whole(denominator, "the denominator", 1)
    while b < denominator:
        a, b = b, a + b
    if b != denominator:
        raise UsageError(f"{denominator} is no Fibonacci number; the golden mean's convergents have such denominators")
    return Fraction(a, b)


def free_long_range_second_moment(hopping: Hopping, time: Numbers) -> Float64[np.ndarray, " d"]:
    """⟨n_j²⟩(t) = t² Σ_m m_j² |a_m|² from δ₀ without a potential, one value an axis."""
    return real(time, "the time", above=-LARGEST, below=LARGEST) ** 2 * (
        hopping.offsets.astype(np.float64) ** 2 * (np.abs(hopping.coefs) ** 2)[:, None]
    ).sum(0)
