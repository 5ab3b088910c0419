"""Every number and array that a user may give to shifts, sets, counts and discrepancies: right, or one sentence."""

import inspect
import warnings
from fractions import Fraction

import numpy as np
import pytest

import tenfold.quasiperiodic as room
from tenfold import shifts
from tenfold.errors import UsageError
from tenfold.settings.arguments import plain_arguments
from tenfold.shifts import Frequency, Kronecker, LatticeShift, Scrambled, ShiftSampler, SkewShift, Stream

OTHER_HALF = {
    "torch_moments", "torch_states", "eigenbasis_moments", "time_averaged", "transfer_bound", "transport_bound",
    "Evolution", "evolve", "transport_exponents", "hopping", "potentials", "presets", "Hopping", "Kernel", "Box",
    "LongRange", "lattice_orbit", "skew_orbit", "front_radius", "BoxTooSmallError", "determinant_of",
    "determinant_scan", "good_box", "theta_grid", "theta_scan", "green_columns", "green_decay", "lyapunov_exponents",
    "bloch_spectrum", "eigenvalues",
}  # fmt: skip
FACES = [(face, name) for face in (shifts, room) for name in sorted(set(face.__all__) - OTHER_HALF)]
# What a method leaves behind or computes from whole numbers alone, apart from the table below.
RESULTS = {"HitCount", "HitBound", "Exponent", "Discrepancy", "WorstSlab", "Cover", "Measure", "Records", "Number",
           "ContinuedFraction", "DiophantineEstimate", "WdcCertificate"}  # fmt: skip

LINE, DISC = room.intervals([("1/6", "1/2")]), room.ball(["1/2", "1/2"], "1/4")
GOLDEN, CUBIC, SKEW = Kronecker("golden"), Kronecker("cubic"), SkewShift("golden", [0, "1/3"])
POINTS = CUBIC.points(0, 12)
NUMBERS = {
    "Kronecker": (lambda **k: Kronecker("golden", **k).to_dict(), {"bits": 64}),
    "Kronecker.points": (CUBIC.points, {"start": 3, "stop": 9}),
    "Kronecker.rational": (Kronecker("3/7", allow_resonant=True).points, {"start": 2**62, "stop": 2**62 + 3}),
    "Kronecker.phases": (CUBIC.phases, {"start": 3, "stop": 9}),
    "Kronecker.integers": (CUBIC.integers, {"start": 3, "stop": 9}),
    "Kronecker.exact_at": (Kronecker("3/7", allow_resonant=True).exact_at, {"n": 2**62}),
    "Kronecker.slack": (CUBIC.slack, {"n": 10}),
    "Kronecker.skip": (lambda **k: CUBIC.skip(**k).points(0, 2), {"count": 2**62}),
    "Kronecker.split": (lambda **k: CUBIC.split(**k).points(0, 2), {"rank": 1, "world": 3}),
    "Kronecker.shifted": (lambda **k: CUBIC.shifted(**k).points(0, 2), {"seed": 3}),
    "SkewShift.points": (SKEW.points, {"start": 5, "stop": 9}),
    "SkewShift.exact_at": (SKEW.exact_at, {"n": 10**9}),
    "Scrambled": (lambda **k: Scrambled(CUBIC, **k).points(0, 3), {"seed": 2}),
    "nested_uniform": (lambda **k: shifts.nested_uniform(CUBIC.phases(0, 3), **k), {"seed": 2}),
    "Stream": (lambda **k: Stream(CUBIC, **k).next(2), {"rank": 1, "world": 2}),
    "Stream.next": (lambda **k: Stream(CUBIC).next(**k), {"batch": 2}),
    "ShiftSampler": (lambda **k: ShiftSampler(mode="kronecker", **k).next(2), {"dim": 2, "seed": 1}),
    "ShiftSampler.batch": (ShiftSampler(mode="iid").batch, {"number": 1, "size": 5, "rank": 1, "world": 2}),
    "Frequency.rd": (Frequency.rd, {"dim": 2}),
    "Frequency.richtmyer": (Frequency.richtmyer, {"dim": 3}),
    "Frequency.roots": (Frequency.roots, {"k": 2, "degree": 3}),
    "generalised_golden": (shifts.generalised_golden, {"dim": 2}),
    "continued_fraction": (lambda **k: shifts.continued_fraction("pi", **k), {"terms": 5, "bits": 64}),
    "best_simultaneous": (lambda **k: shifts.best_simultaneous("golden", **k), {"limit": 2**40}),
    "best_dual": (lambda **k: shifts.best_dual("sqrt2,sqrt3", **k), {"radius": 20}),
    "estimate_dc": (lambda **k: shifts.estimate_dc("golden", "simultaneous", **k), {"limit": 1000, "low": 2}),
    "certify_wdc": (lambda **k: shifts.certify_wdc("golden", **k), {"kappa": 0.25, "tau": 1.0, "limit": 100}),
    "khintchine_transfer": (shifts.khintchine_transfer, {"b": 2, "dual": 2.0}),
    "floor_sum": (room.floor_sum, {"n": 2**40, "m": 10, "a": 6, "b": 3}),
    "count": (lambda **k: room.count(LINE, Kronecker("1/3", allow_resonant=True), **k), {"n0": 0, "n1": 10**10}),
    "count.keep": (lambda **k: room.count(DISC, CUBIC, 0, 100, **k).hits, {"keep": 50}),
    "hits": (lambda **k: room.hits(DISC, CUBIC, **k), {"n0": 0, "n1": 50}),
    "first_hit": (lambda **k: room.first_hit(DISC, CUBIC, **k), {"n0": 3, "n1": 50}),
    "running_counts": (lambda **k: room.running_counts(DISC, CUBIC, [9, 20], **k), {"n0": 2}),
    "count_over_theta": (lambda **k: room.count_over_theta(LINE, "golden", [0, "1/3"], **k), {"N": 2**50}),
    "separation_bound": (lambda **k: room.separation_bound(LINE, "golden", **k), {"N": 2**50, "block": 144}),
    "good_box_distance": (lambda **k: room.good_box_distance("golden", **k), {"M": 50.0, "q": 2.0, "s": 0.5}),
    "Set.cover": (DISC.cover, {"K": 20}),
    "Set.measure": (DISC.measure, {"tol": 0.125}),
    "variables": (room.variables, {"dim": 2}),
    "parse_set": (lambda **k: room.parse_set("x < 1/2", **k), {"dim": 2}),
    "band": (lambda **k: room.band(room.variables(2)[0], "1/9", **k), {"axis": 1}),
    "box": (lambda **k: room.box([0], [1], **k), {"closed": True}),
    "trigonometric_sublevel": (
        lambda **k: room.trigonometric_sublevel([[1]], [1.0], [0.0], **k).to_dict(),
        {"energy": 0.5, "delta": 0.25, "budget": 0.0078125},
    ),
    "discrepancy": (lambda **k: room.discrepancy(POINTS, **k), {"exact": False, "budget": 300}),
    "periodic_discrepancy": (lambda **k: room.periodic_discrepancy(CUBIC, **k), {"N": 300, "squared": True}),
    "worst_slab": (lambda **k: room.worst_slab("golden", **k), {"N": 128}),
    "fit_exponent": (
        lambda **k: room.fit_exponent([1, 10, 100, 1000], [1, 2, 4, 9], **k), {"theory": 0.5, "resamples": 9, "seed": 3}
    ),
}  # fmt: skip
NOT_NUMBERS = {"use_compiled_points", "LatticeShift", "relation", "Set", "Poly", "halfspace_volume", "ball",
               "from_sympy", "halfspace", "intervals", "polytope", "slab", "SkewShift", "Frequency",
               "patience"}  # fmt: skip


def test_every_name_of_the_faces_is_swept_or_excused():
    swept = {name.partition(".")[0] for name in NUMBERS}
    assert {name for _, name in FACES} - swept - NOT_NUMBERS == RESULTS


@pytest.mark.parametrize(("face", "name"), FACES, ids=lambda x: x if isinstance(x, str) else "")
def test_every_function_reads_its_arguments_at_the_border(face, name):
    thing = getattr(face, name)
    if name in RESULTS:
        return
    inside = [(name, thing)] if inspect.isfunction(thing) else list(vars(thing).items())
    for what, function in inside:
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function) and (what == "__init__" or not what.startswith("_")):
            assert not plain_arguments(function) or hasattr(function, "reads_arguments"), (name, what)


def same(a, b):
    return np.array_equal(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else a == b


def of_every_library(value):
    """The same number, as other libraries have it, and as no library should."""
    if isinstance(value, bool):
        return [np.bool_(value)], [2, "perhaps", np.nan]
    if isinstance(value, float):
        good = [np.float64(value), np.float32(value), np.array(value), Fraction(value)]
        return good, [np.nan, np.inf, -np.inf, "x", 1j, np.complex64(value), [value, value], object()]
    kinds = [np.int64, np.uint64] + [k for k in (np.int8, np.uint8, np.int16, np.int32) if value <= np.iinfo(k).max]
    good = [kind(value) for kind in kinds] + [np.array(value)]
    return good, [value + 0.5, np.nan, np.inf, "x", 1j, True, [value, value], object(), Fraction(1, 3), np.float16(0.5)]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_any_library_are_the_same_number_or_one_sentence(name):
    function, given = NUMBERS[name]
    plain = function(**given)
    for key, value in given.items():
        good, bad = of_every_library(value)
        for other in good:
            assert same(function(**{**given, key: other}), plain), (key, repr(other))
        for other in bad:
            with pytest.raises(UsageError, match=key) as refused:
                function(**{**given, key: other})
            assert len(str(refused.value)) < 400


INDICES = {
    "Kronecker.at": GOLDEN.at,
    "Kronecker.at rational": Kronecker("3/7,1/5", allow_resonant=True).at,
    "SkewShift.at": SKEW.at,
    "Scrambled.at": Scrambled(CUBIC, 1).at,
    "LatticeShift.at": lambda n: LatticeShift(["golden", "pi"]).at(np.stack([n, n], axis=-1)),
}
REALS = {
    "Set.contains": DISC.contains,
    "Poly.__call__": room.variables(2)[0] ** 2 + 1,
    **{kind: lambda x, kind=kind: room.discrepancy(x, kind) for kind in ("star", "extreme", "cube", "halfplane",
                                                                         "L2star", "centred", "periodic")},
}  # fmt: skip
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
          "float64", "longdouble", "complex64", "complex128", "object", "U4", "S4", "M8[s]"]  # fmt: skip


def layouts(table):
    frozen = table.copy()
    frozen.flags.writeable = False
    return [table, frozen, np.asfortranarray(table), np.repeat(table, 2, axis=0)[::2], table.tolist(), table[:0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*INDICES, *REALS])
def test_arrays_of_any_type_and_layout(name, dtype):
    function, whole = (INDICES[name], True) if name in INDICES else (REALS[name], False)
    plain = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    table, right = plain.astype(dtype), np.dtype(dtype).kind in ("iuO" if whole else "biufO")
    expected = function(plain) if whole else function(plain.astype(float))
    for given in layouts(table):
        listed = isinstance(given, list)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = function(np.asarray(given) if "Lattice" in name else given)
            except UsageError:
                found = None
        if len(given) and (right or not listed):  # a list has no type of its own
            assert (found is not None) == right, (name, dtype)
        assert found is None or not len(given) or same(found, expected), (name, dtype)


LISTS = {
    "box": lambda x: room.box(x, [1, 1]),
    "box.high": lambda x: room.box([0, 0], x),
    "ball": lambda x: room.ball(x, "1/8"),
    "halfspace": lambda x: room.halfspace(x, 1),
    "slab": lambda x: room.slab(x, 0, 1),
    "polytope": lambda x: room.polytope([x, [1, 1]], [1, 1]),
    "polytope.bounds": lambda x: room.polytope([[1, 0], [1, 1]], x),
    "halfspace_volume": lambda x: room.halfspace_volume(x, 1),
    "Poly.linear": lambda x: room.Poly.linear(x),
    "Poly.of": lambda x: room.Poly.of([[1, 0], [0, 2]], x),
    "trigonometric_sublevel": lambda x: room.trigonometric_sublevel([[1], [1]], x, [0, 0], 0.0, 0.5).to_dict(),
    "count_over_theta": lambda x: room.count_over_theta(LINE, "golden", x, 50).counts,
}
VALUES = {
    "radius": lambda x: room.ball([0, 0], x),
    "bound": lambda x: room.halfspace([1, 0], x),
    "width": lambda x: room.band(room.variables(2)[0], x),
    "constant": lambda x: room.Poly.constant(2, x),
    "divisor": lambda x: room.variables(1)[0] / x,
    "volume": lambda x: room.halfspace_volume([1, 2], x),
}
HALF = [Fraction(1, 2), 0.5, np.float16(0.5), np.float32(0.5), np.longdouble(0.5), "1/2", "0.5", np.array(0.5)]
NO_NUMBERS = [np.nan, np.inf, "nan", "x", True, 1j, np.complex64(1), object(), "1e999999999", {"a": 1}]


@pytest.mark.parametrize("name", [*LISTS, *VALUES])
def test_coefficients_of_any_library_are_exact_or_one_sentence(name):
    function = {**LISTS, **VALUES}[name]
    if name in VALUES:
        assert all(function(half) == function(Fraction(1, 2)) for half in HALF)
    else:
        plain = function([0.5, 0.25])
        alike = [(0.5, 0.25), np.array([0.5, 0, 0.25])[::2], [Fraction(1, 2), np.float32(0.25)]]
        alike += [np.array([0.5, 0.25], kind) for kind in ("float16", "float32", "longdouble", "object")]
        assert all(function(given) == plain for given in alike)
    for bad in [x for x in NO_NUMBERS if x is not True or name != "trigonometric_sublevel"]:  # [0.5, True] are floats
        for given in [bad] if name in VALUES else [bad, [0.5, bad], 0.5, "12", b"12", None]:
            with pytest.raises(UsageError) as refused:
                function(given)
            assert len(str(refused.value)) < 600


def test_indices_do_not_wrap():
    for at in (GOLDEN.at, SKEW.at, Scrambled(CUBIC, 1).at, Kronecker("3/7", allow_resonant=True).at):
        for n in (2**63, np.uint64(2**63), [2**63, 1], [2**70], np.array([2**64 - 1], np.uint64), [2**63, -1]):
            with pytest.raises(UsageError, match=r"2\^63"):
                at(n)
    n = 2**63 - 1
    assert GOLDEN.at(n)[0] == GOLDEN.points(n, n + 1)[0, 0] == GOLDEN.skip(n).points(0, 1)[0, 0]


@pytest.mark.parametrize(
    "alpha",
    [np.nan, np.inf, "nan", "inf", "1/0", True, 1j, None, object(), [], [[1, 2]], ["golden", None], np.complex64(1),
     "1e999999999", "9" * 5000, "richtmyer:99999999", "rd:0", "sqrt4", "liouville:0,1", b"golden", {"a": 1}],
)  # fmt: skip
def test_frequencies_that_are_none(alpha):
    start = [] if alpha is None else [lambda a: Kronecker("pi", a)]  # no θ is θ = 0
    for make in (Frequency.of, Kronecker, shifts.relation, lambda a: SkewShift(a, [0]), *start):
        with pytest.raises(UsageError) as refused:
            make(alpha)
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("alpha", ["golden", "1/7,sqrt2", "3/7,1/5", "sqrt2,1/3,1/4", "1/1000003,pi", "1/5000000029"])
def test_points_of_every_kind_of_frequency_and_length(alpha):
    for bits in (64, 128):
        orbit = Kronecker(alpha, "1/3", bits, allow_resonant=True)
        for start, size in ((-3, 5), (10**15, 2049), (-40_000, 33_000)):
            points, narrow = orbit.points(start, start + size), orbit.points(start, start + size, np.float32)
            some = range(0, size, max(1, size // 40))
            for i in some:
                exact = [Fraction(x, m) for x, m in zip(orbit.exact_at(start + i), orbit.moduli, strict=True)]
                assert max(abs(Fraction(x) - y) for x, y in zip(points[i].tolist(), exact, strict=True)) < 2**-52
                assert max(y - Fraction(x) for x, y in zip(narrow[i].tolist(), exact, strict=True)) < 2**-23
            assert (points < 1).all()
            assert (narrow <= points).all()
            assert np.array_equal(orbit.at([start + i for i in some]), points[:: max(1, size // 40)])


def test_frequencies_of_any_library():
    import decimal

    import mpmath
    import sympy

    for given in (0.25, np.float32(0.25), np.float16(0.25), np.longdouble(0.25), Fraction(1, 4), "1/4", "0.25",
                  np.array(0.25), decimal.Decimal("0.25"), mpmath.mpf(0.25), sympy.Rational(1, 4)):  # fmt: skip
        assert Frequency.of(given).components[0].value == Fraction(1, 4), repr(given)
    assert Frequency.of(np.longdouble(1) / 3).components[0].value != Fraction(1.0 / 3)  # no float64 in between
    assert [c.text for c in Frequency.of(["golden", "cubic", "1/4"]).components][0::3] == ["golden", "1/4"]


STRANGE = [None, "x", 1.5, np.nan, np.zeros(3), np.zeros((0, 2)), [], {}, object(), 1j, True, [["a"]], b"x",
           np.array(["a"]), [None], [[1, 2], [3]]]  # fmt: skip
X, Y = room.variables(2)
ANY = {
    "Kronecker": Kronecker,
    "theta": lambda x: Kronecker("cubic", x),
    "LatticeShift": LatticeShift,
    "LatticeShift.box": lambda x: LatticeShift(["golden"]).box(x, [3]),
    "LatticeShift.phase_error": LatticeShift(["golden"]).phase_error,
    "SkewShift": lambda x: SkewShift("pi", x),
    "nested_uniform": lambda x: shifts.nested_uniform(x, 1),
    "Stream.load_state_dict": lambda x: Stream(CUBIC).load_state_dict(x),
    "ShiftSampler.load_state_dict": lambda x: ShiftSampler().load_state_dict(x),
    "ShiftSampler.frequency": lambda x: ShiftSampler(2, "kronecker", frequency=x),
    "continued_fraction": shifts.continued_fraction,
    "best_simultaneous": lambda x: shifts.best_simultaneous(x, 5),
    "best_dual": lambda x: shifts.best_dual(x, 5),
    "certify_wdc": lambda x: shifts.certify_wdc(x, 0.1, 1, 9),
    "liouville": Frequency.liouville,
    "from_decimals": Frequency.from_decimals,
    "from_fractions": Frequency.from_fractions,
    "from_phases": Frequency.from_phases,
    "Set.from_dict": room.Set.from_dict,
    "Set.contains": DISC.contains,
    "Poly": X,
    "Poly.of": lambda x: room.Poly.of(x, [1]),
    "add": lambda x: X + x,
    "divide": lambda x: X / x,
    "intervals": room.intervals,
    "interval": lambda x: room.intervals([x]),
    "polytope": lambda x: room.polytope(x, [1]),
    "from_sympy": lambda x: room.from_sympy(x, []),
    "symbols": lambda x: room.from_sympy(None, x),
    "trigonometric_sublevel": lambda x: room.trigonometric_sublevel(x, [1.0], [0.0], 0.0, 0.5),
    "running_counts": lambda x: room.running_counts(DISC, CUBIC, x),
    "count_over_theta": lambda x: room.count_over_theta(DISC, "cubic", x, 9),
    "good_box_distance": lambda x: room.good_box_distance(x, 5, 1, 0.9),
    "separation_bound": lambda x: room.separation_bound(DISC, x, 9),
    "discrepancy": room.discrepancy,
    "fit_exponent": lambda x: room.fit_exponent([1, 10, 100, 1000], x),
    "fit_exponent.N": lambda x: room.fit_exponent(x, [1, 2, 3, 4]),
    "worst_slab": lambda x: room.worst_slab(x, 9),
    "halfspace_volume": lambda x: room.halfspace_volume(x, 1),
}


@pytest.mark.parametrize("name", ANY)
def test_whatever_is_given_ends_in_an_answer_or_one_sentence(name):
    for given in STRANGE:
        said = "an answer"
        try:
            ANY[name](given)
        except UsageError as refused:
            said = str(refused)
        assert 5 < len(said) < 600, (name, given)


def test_memory_is_asked_for_before_the_work():
    for work in (
        lambda: GOLDEN.points(0, 10**12),
        lambda: SKEW.points(0, 10**12),
        lambda: GOLDEN.integers(0, 10**12),
        lambda: LatticeShift(["golden", "pi"]).box([0, 0], [10**6, 10**6]),
        lambda: ShiftSampler(mode="iid").next(10**12),
    ):
        with pytest.raises(UsageError, match="GiB are available"):
            work()
