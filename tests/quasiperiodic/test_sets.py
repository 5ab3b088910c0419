"""Polynomials, sets, their text form, covers and measures."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic import (
    Poly,
    Set,
    ball,
    band,
    box,
    from_sympy,
    halfspace,
    halfspace_volume,
    intervals,
    parse_set,
    polytope,
    slab,
    trigonometric_sublevel,
    variables,
)
from tenfold.quasiperiodic.sets.cells import Classifier, meeting
from tenfold.quasiperiodic.sets.roots import phase_ranges, root_floors


def exactly(region, point):
    holds = {">": lambda v: v > 0, ">=": lambda v: v >= 0, "<": lambda v: v < 0, "<=": lambda v: v <= 0,
             "==": lambda v: v == 0}  # fmt: skip
    return any(all(holds[s](p.exact(point)) for p, s in clause) for clause in region.clauses)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=2, max_size=2), st.floats(-3, 3)), min_size=1, max_size=6),
    st.sampled_from([">=", "<=", ">", "<", "=="]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_membership_is_exact(terms, relation, seed):
    region = Set([[(Poly.of([e for e, _ in terms], [c for _, c in terms]), relation)]])
    points = np.random.default_rng(seed).integers(0, 9, (40, 2)) / 8
    assert region.contains(points).tolist() == [exactly(region, p) for p in points]


def test_cancellation_is_resolved_in_whole_numbers():
    x, y = variables(2)
    # (x + y)³ expanded, less the same: exactly 0 everywhere, but not in float64.
    p = (x + y) ** 3 - (x**3 + y**3) - 3 * x * y * (x + y)
    assert p.terms == ()
    tiny = (x - Fraction(1, 3)) ** 5
    region = Set([[(tiny, ">=")]])
    near = np.array([[1 / 3, 0.0], [np.nextafter(1 / 3, 1), 0.0], [np.nextafter(1 / 3, 0), 0.0]])
    assert region.contains(near).tolist() == [False, True, False]  # float64's 1/3 is below 1/3


def test_boolean_algebra():
    a, b = parse_set("x < 1/2", 2), parse_set("y >= x^2", 2)
    points = np.random.default_rng(0).random((500, 2))
    inside = lambda s: s.contains(points)  # noqa: E731
    assert (inside(a & b) == (inside(a) & inside(b))).all()
    assert (inside(a | b) == (inside(a) | inside(b))).all()
    assert (inside(~(a & ~b)) == ~(inside(a) & ~inside(b))).all()
    assert (a & b).degree == 4
    assert Set.from_dict((a & b).to_dict()) == a & b


def test_text():
    text = "0.1 <= x < 1/2 & ~(y > 0.5 | abs(x - y) < 1e-3) or x1 * x2 == 2**2 / 8"
    region = parse_set(text, 2)
    rng = np.random.default_rng(1)
    points = rng.integers(0, 101, (400, 2)) / 100
    for p, got in zip(points, region.contains(points), strict=True):
        x, y = (Fraction(v) for v in p)
        left = Fraction(1, 10) <= x < Fraction(1, 2) and not (y > Fraction(1, 2) or abs(x - y) < Fraction(1, 1000))
        assert got == (left or x * y == Fraction(1, 2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no formula"), ("x <", "no formula"), ("x", "no inequality"), ("x != 1", "only >="),
        ("x < w", "no variable 'w'"), ("z < 1", "no variable 'z' in 2"), ("x^y < 1", "power"),
        ("x^99 < 1", "outside 0"), ("sin(x) < 1", "no polynomial"), ("1 / x < 1", "only numbers"),
        ("x < 1/0", "divided by 0"), ("__import__('os')", "no inequality"),
    ],
)  # fmt: skip
def test_text_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_set(text, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Set([]), "no clause"),
        (lambda: Set([[]]), "clause 0 of the set is empty"),
        (lambda: Set([[(variables(1)[0], "=<")]]), "relation '=<'"),
        (lambda: Set([[(variables(1)[0], "<"), (variables(2)[0], "<")]]), r"\[1, 2\] variables"),
        (lambda: Poly.of([[1]], [float("nan")]), "coefficient is nan"),
        (lambda: Poly.of([[1], [2]], [1]), "one each"),
        (lambda: Poly.of([[-1]], [1]), "exponent is -1"),
        (lambda: Poly.of([[1]], ["x"]), "coefficient is 'x'"),
        (lambda: parse_set("x < 1/2", 1).contains([[1.5]]), r"outside \[0, 1\]"),
        (lambda: parse_set("x < 1/2", 1).contains([[0.5, 0.5]]), "b = 1"),
        (lambda: box([0], ["3/2"]), "no interval"),
        (lambda: ball(["1/2"], -1), "radius is -1"),
        (lambda: parse_set("x < y", 2).cover(0), "K is 0"),
        (lambda: parse_set("x < y", 2).cover(10**7 + 1), "K is 10000001"),
        (lambda: parse_set("x < y", 2).measure(0), "tol is 0"),
        (lambda: Set.from_dict({"clauses": 3}), "no set"),
        (lambda: trigonometric_sublevel([[1]], [1.0], [0.0], 0.0, 1e-9, 1e-6), "budget"),
    ],
)  # fmt: skip
def test_refusals(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_constructors_against_their_definition():
    points = np.random.default_rng(2).random((3000, 2))
    x, y = points.T
    cases = [
        (box([0.25, 0], [0.5, 1]), (x >= 0.25) & (x < 0.5)),
        (ball([0.5, 0.5], 0.25), (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.0625),
        (halfspace([1, 2], 1.25), x + 2 * y <= 1.25),
        (slab([1, -1], 0, 0.25), (x - y >= 0) & (x - y < 0.25)),
        (polytope([[1, 1], [-1, 0]], [1, -0.25]), (x + y <= 1) & (x >= 0.25)),
        (band(variables(2)[0] ** 2, 0.125), np.abs(y - x**2) <= 0.125),
    ]
    for region, expected in cases:
        assert (region.contains(points) == expected).all()
    a, b = sympy.symbols("a b")
    formula = sympy.Or(sympy.And(a**2 + b <= sympy.Rational(1, 2), sympy.Not(a > b)), a * b > sympy.Float(0.75))
    expected = ((x**2 + y <= 0.5) & (x <= y)) | (x * y > 0.75)
    assert (from_sympy(formula, [a, b]).contains(points) == expected).all()
    with pytest.raises(UsageError, match="not polynomial"):
        from_sympy(sympy.sin(a) < b, [a, b])


def test_trigonometric_sublevel_lies_between():
    region = trigonometric_sublevel([[1, 0], [1, 1]], [3.0, 1.0], [0.0, 0.5], 0.3, 0.2, 1e-7)
    points = np.random.default_rng(0).random((4000, 2))
    angle = 2 * np.pi * points.sum(axis=1)
    v = 3 * np.cos(2 * np.pi * points[:, 0]) + np.cos(angle) + 0.5 * np.sin(angle)
    truth = np.abs(v - 0.3) < 0.2
    inner, outer = region.inner.contains(points), region.outer.contains(points)
    assert truth.any()
    assert not (inner & ~truth).any()
    assert not (truth & ~outer).any()
    assert region.error < 2e-7


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=2, max_size=6), st.sampled_from([7, 64, 1000, 2**64]))
def test_roots_on_any_modulus(coefficients, modulus):
    p = Poly.of([[k] for k in range(len(coefficients))], coefficients)
    if p.degree < 1:
        return
    numeric = np.roots([float(c) for c in coefficients[::-1]])
    real = [r.real for r in numeric if abs(r.imag) < 1e-7 and -1e-9 < r.real < 1 + 1e-9]
    found = root_floors(p, modulus)
    for g in found:  # a sign change or a zero between g and g + 1
        signs = [p.exact([Fraction(g + i, modulus)]) for i in (0, 1)]
        assert signs[0] * signs[1] <= 0 or any(abs(r * modulus - g - 0.5) < 0.5 + 1e-3 * modulus for r in real)
    if modulus == 1000:
        for r in real:
            assert any(abs(g / modulus - r) < 3e-3 for g in found)


def test_phase_ranges_of_a_cubic():
    region = parse_set("(x - 1/10)*(x - 1/2)*(x - 9/10) > 0", 1)
    assert phase_ranges(region, 100).inside == ((11, 50), (91, 100))
    assert phase_ranges(~region, 100).inside == ((0, 11), (50, 91))
    double = phase_ranges(parse_set("(x - 1/4)^2 <= 0", 1), 2**64)
    assert double.inside == ((2**62, 2**62 + 1),)


def test_cells_are_classified_rightly():
    rng = np.random.default_rng(3)
    for text in ("abs(y - x^2) <= 1/20", "x^3*y - 2*x*y^2 + 1/5 > 0 | x + y < 1/3", "x*y == 1/4"):
        region = parse_set(text, 2)
        low = rng.random((400, 2)) * 0.9
        high = low + rng.random((400, 2)) * 0.1
        inside, outside = Classifier(region).decide(low, high)
        assert inside.sum() + outside.sum() > 100
        for _ in range(20):
            samples = region.contains(low + rng.random((400, 2)) * (high - low))
            assert samples[inside].all()
            assert not samples[outside].any()


@pytest.mark.parametrize("text", ["abs(y - x^2) <= 1/50", "(x-1/2)^2 + (y-1/2)^2 <= 1/10", "x + 2*y <= 13/10"])
def test_covers_hold_every_point_and_refine(text):
    region = parse_set(text, 2)
    points = np.random.default_rng(4).random((200_000, 2))
    points = points[region.contains(points)]
    previous = 0
    for K in (5, 10, 40):
        cells = np.zeros((K, K), bool)
        for part in meeting(region, K):
            for low, high in zip(part.low, part.high, strict=True):
                assert not cells[low[0] : high[0], low[1] : high[1]].any()
                cells[low[0] : high[0], low[1] : high[1]] = True
        index = (points * K).astype(int)
        assert cells[index[:, 0], index[:, 1]].all()
        cover = region.cover(K)
        assert cover.low <= cover.cells == cells.sum()
        assert len(np.unique(index, axis=0)) <= cover.cells
        assert cover.cells >= previous
        previous = cover.cells


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5).filter(bool), min_size=1, max_size=4), st.fractions(-6, 6, max_denominator=9))
def test_halfspace_volumes_are_complementary(normal, bound):
    volume = halfspace_volume(normal, bound)
    assert 0 <= volume <= 1
    assert volume + halfspace_volume([-a for a in normal], -bound) == 1


def test_measures():
    assert box([0, "1/4"], ["1/2", "3/4"]).measure().exact == Fraction(1, 4)
    assert halfspace([1, 2], "13/10").measure().exact == Fraction(2, 5)
    assert slab([1, 1], "1/2", 1).measure().exact == Fraction(3, 8)
    disc = ball(["1/2", "1/2"], "1/4").measure(2e-3)
    assert disc.low <= math.pi / 16 <= disc.high
    assert disc.high - disc.low <= 2e-3
    solid = ball(["1/2"] * 3, "1/2").measure(0.05)
    assert solid.low <= math.pi / 6 <= solid.high
    line = parse_set("x^2 <= 1/2", 1).measure()
    assert line.low <= math.sqrt(0.5) <= line.high
    assert line.high - line.low < 1e-15
    assert intervals([("1/4", "1/2"), ("1/3", "2/3")]).measure().value == pytest.approx(5 / 12, abs=1e-15)
    curved = parse_set("y <= x^2", 2).measure(1e-3)
    assert curved.low <= 1 / 3 <= curved.high
