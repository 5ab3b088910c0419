"""Hopping and potentials: Hermitian or refused, tails, symbols; steps exact at their edges; models' conventions."""

from math import cosh, exp, tanh

import numpy as np
import pytest
import scipy.sparse

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import (
    Hopping,
    Kernel,
    exponential,
    from_symbol,
    kernel_from_sparse,
    nearest_neighbour,
    power_law,
    symmetric,
)
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.operators.phases import fixed_point, lattice_orbit
from tenfold.quasiperiodic.operators.potentials import Function, Steps, TrigPolynomial


class TestHopping:
    def test_the_first_offset_that_is_not_hermitian_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"not Hermitian at m = -2.*a_m is 0.5 but a_\(-m\) is 0.4"):
            Hopping([1, -1, -2, 2], [1.0, 1.0, 0.5, 0.4])
        with pytest.raises(UsageError, match="not Hermitian at m = 1"):
            Hopping([1], [1.0])
        with pytest.raises(UsageError, match="not Hermitian at m = 0"):
            Hopping([0], [1j])

    @pytest.mark.parametrize(
        ("offsets", "coefs", "words"),
        [
            ([1, 1, -1], [1, 1, 2], "twice"),
            ([1, -1], [np.nan, np.nan], "not finite"),
            ([1, -1], [1.0], "as many offsets"),
        ],
    )
    def test_malformed_lists(self, offsets: list, coefs: list, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Hopping(offsets, coefs)

    def test_exponential_tail_is_the_rest_of_the_sum(self) -> None:
        for dim in (1, 2):
            whole = (1 / tanh(0.35)) ** dim - 1
            h = exponential(2.0, 0.7, dim)
            assert h.rho == 0.7
            assert abs(np.abs(h.coefs).sum() + h.tail - 2 * whole) < 1e-12
            assert 0 < h.tail < 1e-16 * 2 * (1 / tanh(0.35)) ** dim
        assert exponential(1.0, 1.0, radius=10).tail == 0.0
        assert exponential(1.0, 1.0, radius=10).range == 10

    @pytest.mark.parametrize("rate", [0.0, -1.0, np.inf, np.nan])
    def test_what_is_not_summable_is_refused(self, rate: float) -> None:
        with pytest.raises(UsageError, match="summable"):
            exponential(1.0, rate)

    def test_power_law(self) -> None:
        assert power_law(1.0, 2.0, 3).coefs.tolist() == [1.0, 0.25, 1 / 9] * 2
        with pytest.raises(UsageError, match="not summable"):
            power_law(1.0, 1.0, 10)

    def test_symbol_there_and_back(self) -> None:
        h = symmetric([1, 2], [0.5 + 0.2j, -0.1j])
        k = 2 * np.pi * np.arange(32) / 32
        exact = 2 * np.real((0.5 + 0.2j) * np.exp(1j * k) - 0.1j * np.exp(2j * k))
        assert np.abs(h.symbol([32]) - exact).max() < 1e-14
        again = from_symbol(lambda k: 2 * np.real((0.5 + 0.2j) * np.exp(1j * k) - 0.1j * np.exp(2j * k)), 5)
        assert sorted(again.offsets[:, 0].tolist()) == [-2, -1, 1, 2]
        table = dict(zip(again.offsets[:, 0].tolist(), again.coefs, strict=True))
        assert abs(table[1] - (0.5 + 0.2j)) < 1e-14
        assert abs(table[-2] - 0.1j) < 1e-14

    def test_symbol_with_a_tail(self) -> None:
        # e^{−ρ|m|} has the symbol sinh ρ/(cosh ρ − cos k).
        h = from_symbol(lambda k: np.sinh(1.0) / (cosh(1.0) - np.cos(k)), 12)
        table = dict(zip(h.offsets[:, 0].tolist(), h.coefs, strict=True))
        assert abs(table[3] - exp(-3)) < 1e-12
        assert abs(h.tail - 2 * exp(-13) / (1 - exp(-1))) < 1e-9

    def test_a_symbol_must_be_real(self) -> None:
        with pytest.raises(UsageError, match="real value"):
            from_symbol(lambda k: np.exp(1j * k), 3)


class TestKernel:
    def kernel(self, **changes: object) -> Kernel:
        def call(n: np.ndarray, m: np.ndarray) -> np.ndarray:
            distance = np.abs(n - m)[:, 0]
            return np.exp(-distance) * (1 + 0.3 * np.cos((n + m)[:, 0]))

        settings = {"call": call, "radius_": 8, "bound": 1.3, "rate": 1.0} | changes
        return Kernel(**settings)  # type: ignore[arg-type]

    def test_its_box_is_its_entries(self) -> None:
        box = LongRange(self.kernel()).box(10)
        n = box.sites[:, 0]
        exact = np.exp(-np.abs(n[:, None] - n[None])) * (1 + 0.3 * np.cos(n[:, None] + n[None]))
        exact[np.abs(n[:, None] - n[None]) > 8] = 0
        assert np.abs(box.dense() - exact).max() < 1e-15
        low, high = np.linalg.eigvalsh(box.dense())[[0, -1]]
        assert box.interval.low <= low <= high <= box.interval.high

    def test_the_users_decay_is_checked(self) -> None:
        with pytest.raises(UsageError, match="above C e"):
            LongRange(self.kernel(bound=1.0)).box(10).dense()

    def test_self_adjointness_is_checked(self) -> None:
        def lopsided(n: np.ndarray, m: np.ndarray) -> np.ndarray:
            return np.where(n[:, 0] >= m[:, 0], 0.5, 0.4)

        with pytest.raises(UsageError, match="not self-adjoint"):
            LongRange(self.kernel(call=lopsided, rate=0.01)).box(5).dense()

    def test_only_sparse_products(self) -> None:
        with pytest.raises(UsageError, match="use 'sparse'"):
            LongRange(self.kernel()).box(5).with_product("fft")

    def test_sparse_matrices_are_kernels(self) -> None:
        matrix = scipy.sparse.diags_array([np.ones(20), np.ones(20)], offsets=[1, -1], shape=(21, 21))
        h = kernel_from_sparse(matrix, 10, 3.0, 1.0)
        assert np.array_equal(LongRange(h).box(10).dense(), matrix.toarray())

    def test_bounds_must_be_positive(self) -> None:
        with pytest.raises(UsageError, match="above 0"):
            self.kernel(rate=0.0)


class TestPotentials:
    def test_trigonometric_polynomial(self) -> None:
        v = TrigPolynomial([[1, 2], [0, -3]], [0.5, 0.0], [0.0, 2.0], 0.25)
        x = np.random.default_rng(0).random((50, 2))
        phases = (x * 2.0**53).astype(np.uint64) << np.uint64(11)
        points = (phases >> np.uint64(11)) * 2.0**-53
        exact = 0.25 + 0.5 * np.cos(2 * np.pi * (points @ [1, 2])) + 2 * np.sin(2 * np.pi * (points @ [0, -3]))
        assert np.abs(v(phases) - exact).max() < 1e-14
        assert np.abs(v.real(points, np.cos, np.sin) - exact).max() < 1e-14
        assert v.degree == 3

    def test_sturmian_edge_counts_exactly(self) -> None:
        # V_n = 1 iff frac(nα) ≥ 1 − α; at n = −1 it is equal, and counts.
        values = presets.fibonacci(1.0).values([-8], [17])
        alpha = (np.sqrt(5) - 1) / 2
        n = np.arange(-8, 9)
        exact = ((n * alpha) % 1 >= 1 - alpha).astype(float)
        exact[n == -1] = 1.0
        assert values.tolist() == exact.tolist()

    def test_fibonacci_word_is_the_substitution(self) -> None:
        word = "1"
        while len(word) < 300:
            word = "".join({"1": "10", "0": "1"}[c] for c in word)
        assert "".join(str(int(v)) for v in presets.fibonacci(1.0).values([1], [300])) == word[:300]

    def test_steps_with_exact_edges(self) -> None:
        v = Steps.at(["1/4", "1/2"], [1.0, 2.0])
        edges = np.array([[fixed_point("1/4")], [fixed_point("1/4") - 1], [fixed_point("1/2")], [0]], dtype=np.uint64)
        assert v(edges).tolist() == [1.0, 2.0, 2.0, 2.0]
        for breaks, values in ((["1/2", "1/4"], [1.0, 2.0]), (["1/2"], [1.0, 2.0]), ([], []), (["1/2"], [np.nan])):
            with pytest.raises(UsageError):
                Steps.at(breaks, values)

    def test_maryland_pole_names_the_site(self) -> None:
        operator = presets.maryland(1.0, "1/4", 0.0, allow_resonant=True)
        with pytest.raises(UsageError, match="pole of the tangent at n = 2"):
            operator.box(2, centre=1)

    def test_values_that_are_not_finite_name_the_site(self) -> None:
        v = Function(lambda x: np.where(x[..., 0] == 0, np.inf, 1.0))
        with pytest.raises(UsageError, match="not finite at n = 0"):
            LongRange(nearest_neighbour(), v, lattice_orbit("golden")).box(2)

    def test_a_callable_of_another_shape(self) -> None:
        v = Function(lambda x: x)
        with pytest.raises(UsageError, match="returned shape"):
            LongRange(nearest_neighbour(), v, lattice_orbit("golden")).box(2)

    def test_ganeshan_pixley_das_sarma(self) -> None:
        n = np.arange(-3, 4)
        c = np.cos(2 * np.pi * (0.1 + n * (np.sqrt(5) - 1) / 2))
        values = presets.ganeshan_pixley_das_sarma(0.7, 0.4, theta=0.1).values([-3], [7])
        assert np.abs(values - 1.4 * c / (1 - 0.4 * c)).max() < 1e-13
        with pytest.raises(UsageError, match="g is 1"):
            presets.ganeshan_pixley_das_sarma(1.0, 1.0)


class TestOperator:
    @pytest.mark.parametrize("lam", [np.inf, np.nan])
    def test_coupling_is_finite(self, lam: float) -> None:
        with pytest.raises(UsageError, match="lambda is"):
            presets.aubry_andre(lam)

    def test_dimensions_must_agree(self) -> None:
        v = TrigPolynomial.cosine(1.0)
        with pytest.raises(UsageError, match=r"lives on T\^1.*2 coordinates"):
            LongRange(nearest_neighbour(), v, lattice_orbit(["sqrt(2)", "sqrt(3)"]))
        with pytest.raises(UsageError, match=r"Z\^2.*1 rows"):
            LongRange(nearest_neighbour(2), v, lattice_orbit("golden"))
        with pytest.raises(UsageError, match="both or neither"):
            LongRange(nearest_neighbour(), v)

    def test_golden_convergents(self) -> None:
        assert presets.golden_convergent(610).numerator == 377
        with pytest.raises(UsageError, match="no Fibonacci number"):
            presets.golden_convergent(600)


def test_one_frequency_an_axis() -> None:
    values = presets.lattice_cosines(2.0, ("golden", "silver"), (0.1, 0.2)).values([3, -1], [1, 1])
    golden, silver = (np.sqrt(5) - 1) / 2, np.sqrt(2) - 1
    exact = 2 * (np.cos(2 * np.pi * (0.1 + 3 * golden)) + np.cos(2 * np.pi * (0.2 - silver)))
    assert abs(values[0] - exact) < 1e-13
