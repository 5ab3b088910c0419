"""``tenfold discrepancy``. What works is imported on use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from tenfold import quasiperiodic as room
from tenfold import shifts
from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.quasiperiodic.commands.actions import (
    action_of,
    action_parser,
    add_worked,
    perform,
    refuse_with,
    run_worked,
    skew_shift,
    tell,
    verb_parser,
)
from tenfold.quasiperiodic.commands.arrays import check_output, loaded, saved
from tenfold.reports import console as show
from tenfold.runs.sampled_loss import losses_of
from tenfold.settings.command import CommandParser

SUMMARY = (
    "How often an orbit meets a semi-algebraic set, and how evenly points are spread: certified counts, bounds that "
    "hold for every start, covering numbers, measures, discrepancies, and worked examples with a report."
)
EXAMPLES = """\
  tenfold discrepancy count --set "abs(y - x^2) <= 1/1000000" --alpha cubic --stop 1e7
  tenfold discrepancy count --set "1/4 <= x < 1/2" --alpha golden --stop 1e18 --json
  tenfold discrepancy count --set "x^2 + y^2 < 1/4" --alpha cubic --ladder 1e3,1e4,1e5 --figure counts.png
  tenfold discrepancy bound --set "abs(x - 1/2) <= 1/100" --alpha liouville:2,3,50,4,20000,3,7,9 --stop 10000
  tenfold discrepancy cover --set "abs(y - x^2) <= 1/50" --cells 1000
  tenfold discrepancy slab --alpha cubic --sizes 256,1024,4096,16384 --figure slabs.png
  tenfold discrepancy points --alpha sqrt2,sqrt3 --stop 500 --kind star
  tenfold discrepancy points --file points.npz --kind centred --squared
  tenfold discrepancy --example slabs --out runs/slabs
"""
# Hits that are written into a file, and into JSON; beyond, they are counted.
MOST_LISTED, MOST_PRINTED = 10**7, 10**6
ALPHA = "frequency: golden, cubic, rd:D, richtmyer:D, sqrtK, pi, liouville:A,B,..., or numbers p/q or 0.25,..."


def run(argv: list[str]) -> int:
    """Find the action, or the worked example, and run it."""
    action = action_of("discrepancy", argv, ACTIONS)
    if action is not None:
        return perform(ACTIONS, action, argv[1:])
    usage = "ACTION [options] | --example NAME --out DIR"
    parser = verb_parser("discrepancy", usage, SUMMARY, EXAMPLES, ACTIONS)
    add_worked(parser, "discrepancy", "run folder of the example (new)")
    help = "example samplers: also the losses of these trained models"
    parser.add_argument("--runs", metavar="RUN", nargs="+", help=help)
    given = parser.parse_args(argv)
    if given.example is None:
        raise UsageError(f"name an action ({', '.join(ACTIONS)}), or an example with --example")
    if not given.runs:
        return run_worked("discrepancy", given)
    if given.example != "samplers":
        raise UsageError(f"--runs belongs to the example 'samplers', not to {given.example!r}")
    return run_worked("discrepancy", given, lambda: {"losses": [x for name in given.runs for x in losses_of(name)]})


# --- shared options --------------------------------------------------------------------------------------


def _parser(action: str, summary: str, orbit: bool = True, region: bool = True) -> CommandParser:
    parser = action_parser("discrepancy", action, "[options]", summary, EXAMPLES)
    if region:
        parser.add_option("--set", str | None, None, help="inequalities in x, y, z (or x1, x2, ...), &, |, ~, abs()")
        parser.add_option("--set-file", str | None, None, help="JSON file of a set, as Set.to_dict writes it")
    if orbit:
        parser.add_option("--alpha", str, "golden", help=ALPHA)
        parser.switch("--allow-resonant", "accept a frequency with a rational relation")
    return parser


def _region(given: Any, dim: int | None) -> room.Set:
    if (given.set is None) == (given.set_file is None):
        raise UsageError("give the set once, as --set 'x < 1/2' or as --set-file FILE")
    if given.set_file is not None:
        return room.Set.from_dict(read_json(Path(given.set_file)))
    return room.parse_set(given.set, dim or _dimension(given.set))


def _dimension(text: str) -> int:
    numbered = [int(n) for n in re.findall(r"\bx(\d+)\b", text)]
    letters = [i + 1 for i, name in enumerate("xyz") if re.search(rf"\b{name}\b", text)]
    return max([*numbered, *letters], default=1)


def _kronecker(given: Any, bits: int | None = None) -> shifts.Kronecker:
    return shifts.Kronecker(given.alpha, given.theta, bits, allow_resonant=given.allow_resonant)


# --- actions ---------------------------------------------------------------------------------------------


def _count(argv: list[str]) -> int:
    parser = _parser("count", "Count the n, both ends included, whose point lies in the set.")
    parser.add_option("--theta", str, "0", help="start of the orbit: one number, or one a coordinate")
    parser.add_option("--start", int, 0, help="first n")
    parser.add_option("--stop", int | None, None, help="last n, counted too (1e12 is allowed)")
    parser.add_option("--method", str, "auto", help="auto, enumerate, floor_sum (one dimension) or lattice")
    parser.add_option("--bits", int | None, None, help="64, 128 (default) or 256 of a phase; a skew shift's follow n")
    parser.add_option("--skew", int | None, None, help="count a skew shift in this dimension instead")
    parser.switch("--inexact", "let float64 decide points near a boundary; the count is then not certified")
    parser.add_option("--ladder", tuple[int, ...], (), help="running counts at these N, as in 1e3,1e4,1e5")
    parser.add_option("--figure", str | None, None, help="with --ladder: draw them into this PNG file")
    parser.add_option("--out", str | None, None, help="write the hits into this .npz file")
    given = parser.parse_args(argv)
    if given.figure is not None and not given.ladder:
        raise UsageError("--figure draws running counts; give their N, as in --ladder 1e3,1e4,1e5")
    ladder = list(given.ladder)
    if given.stop is None and not ladder:
        raise UsageError("--stop is missing; give the last n to count, as in --stop 1e6")
    if ladder != sorted(ladder):
        raise UsageError(f"--ladder is {ladder}; expected increasing N")
    check_output("--out", given.out, ".npz")
    check_output("--figure", given.figure, ".png")
    start, stop = given.start, ladder[-1] if given.stop is None else given.stop
    orbit = skew_shift(given) if given.skew is not None else _kronecker(given, given.bits)
    region, exact = _region(given, orbit.dim), not given.inexact
    if given.out is not None and given.skew is None and region.dim == 1 and given.method in ("auto", "floor_sum"):
        raise UsageError("method 'floor_sum' counts without listing; leave --out away or use --method enumerate")
    keep = MOST_LISTED if given.out is not None else MOST_PRINTED if given.json else 20
    with show.progress("counting") as progress:
        running = room.running_counts(region, orbit, ladder, start, given.method, exact) if ladder else []
        found = room.count(region, orbit, start, stop, given.method, exact, progress, keep)
    result = {**found.to_dict(), "set": given.set or given.set_file, "sequence": orbit.to_dict()}
    if ladder:
        result["running"] = [[n, c] for n, c in zip(ladder, running, strict=True)]
    if given.out is not None:
        if found.hits is None:
            raise UsageError(f"{found.count} hits are too many to write, over {MOST_LISTED}; take shorter ranges")
        result["file"] = str(saved(given.out, {k: v for k, v in result.items() if k != "hits"}, hits=found.hits))
    if given.figure is not None:
        from tenfold.figures.series import lines

        lines({"hits": (ladder, running)}, given.figure, "N", f"hits in {start} … N", log=(True, True))
        result["figure"] = given.figure
    sure = f"certified: {found.rechecked} points re-evaluated exactly" if found.certified else "not certified (float64)"
    listed = found.hits is not None and 0 < found.count <= 20
    return tell(
        given,
        result,
        f"{found.count} hits, {start} <= n <= {stop} (method {found.method})",
        sure + (f"; {found.cells} cells visited" if found.cells is not None else ""),
        *(f"  N = {n}: {c}" for n, c in zip(ladder, running, strict=True)),
        *(["  n = " + ", ".join(map(str, result["hits"]))] if listed else []),
        *(result[name] for name in ("file", "figure") if name in result),
    )


def _bound(argv: list[str]) -> int:
    parser = _parser("bound", "An upper bound on the hits with 0 <= n <= stop, for every start (derived, exact).")
    parser.add_option("--theta", str, "0", help="start of the orbit whose hits are counted beside the bound")
    parser.add_option("--stop", int, 10000, help="N, counted too")
    block = Literal["auto"] | int | None
    parser.add_option("--block", block, "auto", help="block length, 'auto' for the best, 'none' for one block")
    given = parser.parse_args(argv)
    N = given.stop
    orbit = _kronecker(given)
    region = _region(given, orbit.dim)
    with show.busy("covering"):
        bound = room.separation_bound(region, orbit, N, given.block)
        hits = room.count(region, orbit, 0, N)
    one = bound.plain if bound.plain is not None else "grid too fine"
    return tell(
        given,
        {**bound.to_dict(), "hits": hits.count, "theta": given.theta},
        f"at most {bound.bound} hits for 0 <= n <= {N} and every theta (derived)",
        f"blocks of {bound.block}: points {bound.delta:.4g} apart, {bound.cells} cells of side 1/{bound.K} meet the "
        "set",
        f"one block: {one}; counted at theta = {given.theta}: {hits.count}",
    )


def _cover(argv: list[str]) -> int:
    parser = _parser("cover", "Cells of side 1/K that meet the set, and its measure.", orbit=False)
    parser.add_option("--cells", int, 1000, help="K, cells a side")
    parser.add_option("--tol", float, 1e-3, help="width of the measure's interval")
    given = parser.parse_args(argv)
    region = _region(given, None)
    K = given.cells
    with show.busy("covering"):
        cover, measure = region.cover(K), region.measure(given.tol)
    kinds = f"inside {cover.inside}, boundary {cover.boundary}"
    exact = f" = {measure.exact}" if measure.exact is not None else ""
    return tell(
        given,
        {"set": region.to_dict(), "cover": cover.to_dict(), "measure": measure.to_dict()},
        f"{cover.low} <= cells <= {cover.cells} ({kinds}), side 1/{K}, degree {region.degree}",
        f"{measure.low:.8g} <= measure <= {measure.high:.8g}{exact} ({measure.method})",
    )


def _slab(argv: list[str]) -> int:
    parser = _parser("slab", "Slabs that the orbit misses most, and the exponent of their deviation.", region=False)
    parser.add_option("--theta", str, "0", help="start of the orbit")
    parser.add_option("--sizes", tuple[int, ...], (256, 1024, 4096, 16384, 65536), help="numbers of points N")
    parser.add_option("--figure", str | None, None, help="draw the deviations into this PNG file")
    given = parser.parse_args(argv)
    sizes = list(given.sizes)
    check_output("--figure", given.figure, ".png")
    bad = [N for N in sizes or [0] if not 4 <= N <= 1 << 24]
    if bad:
        raise UsageError(f"N is {bad[0]}; a search for slabs takes 4 ≤ N ≤ {1 << 24} points")
    if len(sizes) > 1:
        room.fit_exponent(sizes, sizes, resamples=1)  # what it refuses is refused before the search
    orbit = _kronecker(given)
    theory = 1 - 1 / orbit.dim
    found = []
    with show.progress("slabs") as progress:
        for i, N in enumerate(sizes):
            found.append(room.worst_slab(orbit, N))
            progress((i + 1) / len(sizes))
    deviations = [w.deviation for w in found]
    fit = room.fit_exponent(sizes, deviations, theory) if len(sizes) > 1 and min(deviations) > 0 else None
    if given.figure is not None:
        from tenfold.figures.series import lines

        reference = [deviations[0] * (N / sizes[0]) ** theory for N in sizes]
        curves = {"worst slab found": (sizes, deviations), f"N^{theory:.3g}": (sizes, reference)}
        lines(curves, given.figure, "N", "|count − N · volume|", log=(True, True), dashed=(f"N^{theory:.3g}",))
    lines_ = [
        f"N = {w.N}: |count - N volume| = {w.deviation:.4g}, k = {list(w.k)}, {w.low} <= k.x < {w.high}" for w in found
    ]
    if fit is not None:
        lines_ += [f"exponent {fit.slope:.3f} ({fit.low:.3f} ... {fit.high:.3f}), theory {theory:.3g}; deviations are "
                   "lower estimates of the supremum"]  # fmt: skip
    return tell(given, {"slabs": [w.to_dict() for w in found], "exponent": fit and fit.to_dict()}, *lines_)


def _points(argv: list[str]) -> int:
    parser = _parser("points", "A discrepancy of an orbit's points, or of points in a file.", region=False)
    parser.add_option("--theta", str, "0", help="start of the orbit")
    parser.add_option("--stop", int, 1000, help="number of points N: x_0 ... x_(N-1)")
    parser.add_option("--file", str | None, None, help=".npz, .npy or .csv file of points (N, d), instead of an orbit")
    parser.add_option(
        "--kind", str, "star", help="star, extreme, cube, halfplane, L2star, centred, wraparound, mixture, periodic"
    )
    parser.switch("--squared", "the square of an L2 discrepancy")
    parser.switch("--exact", "refuse bounds: an exact value or an error")
    given = parser.parse_args(argv)
    exact = True if given.exact else None
    refuse_with(parser, argv, "--file", ("alpha", "theta", "stop", "allow_resonant"))
    if given.file is not None:
        points = loaded(given.file)
    else:
        N = given.stop
        if not 1 <= N <= 10**8:
            raise UsageError(f"--stop is {N}; a discrepancy is of 1 to 1e8 points")
        orbit = _kronecker(given)
        points = None if given.kind == "periodic" else orbit.points(0, N)
    with show.busy("measuring"):
        if points is None:
            found = room.periodic_discrepancy(orbit, N, given.squared)
        else:
            found = room.discrepancy(points, given.kind, given.squared, exact)
    facts = found.to_dict()
    value = f"{found.value:.10g}" if found.exact else f"between {found.low:.6g} and {found.high:.6g}"
    root = "" if found.kind in ("star", "extreme", "cube", "halfplane") else ", squared" if found.squared else ", root"
    line = f"{found.kind} discrepancy of {found.points} points in dimension {found.dim}{root}: {value}"
    return tell(given, facts, line, facts["definition"])


ACTIONS = {"count": _count, "bound": _bound, "cover": _cover, "slab": _slab, "points": _points}
