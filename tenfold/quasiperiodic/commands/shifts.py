"""``tenfold shifts``. What works is imported on use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.table import Table

from tenfold import shifts
from tenfold.errors import UsageError
from tenfold.quasiperiodic.commands.actions import action_of, action_parser, perform, skew_shift, tell, verb_parser
from tenfold.quasiperiodic.commands.arrays import Parts, check_output, saved
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser
from tenfold.shifts.costs import Watch

_BLOCK = 1 << 18  # points that are held together

SUMMARY = "Shift sequences θ + n α mod 1, exact at any n, and how well their frequencies are approximated by fractions."
EXAMPLES = """\
  tenfold shifts points --alpha cubic --start 1000000000000 --count 4
  tenfold shifts points --alpha golden --skew 3 --theta 1/10,3/10,7/10 --count 5 --bits 256
  tenfold shifts points --alpha rd:2 --count 1024 --scramble 1 --out points.npz
  tenfold shifts fraction --alpha pi --terms 12
  tenfold shifts best --alpha sqrt2,sqrt3 --limit 1e9
  tenfold shifts best --alpha sqrt2,sqrt3 --limit 1000 --dual
  tenfold shifts certify --alpha golden --kappa 0.38 --tau 1 --limit 1e12
"""
ALPHA = "golden, cubic, plastic, rd:D, richtmyer:D, sqrtK, cbrtK, e, pi, liouville:A,B,..., or numbers p/q or 0.25,..."


def run(argv: list[str]) -> int:
    """Find the action and run it."""
    action = action_of("shifts", argv, ACTIONS)
    if action is not None:
        return perform(ACTIONS, action, argv[1:])
    verb_parser("shifts", "ACTION --alpha ALPHA [options]", SUMMARY, EXAMPLES, ACTIONS).parse_args(argv)
    raise UsageError(f"name an action: {', '.join(ACTIONS)}")


def _parser(action: str, summary: str) -> CommandParser:
    parser = action_parser("shifts", action, "--alpha ALPHA [options]", summary, EXAMPLES)
    parser.add_option("--alpha", str, "golden", help=ALPHA)
    return parser


def _points(argv: list[str]) -> int:
    parser = _parser("points", "Print points of a sequence, or write them into an .npz file.")
    parser.add_option("--theta", str, "0", help="start: one number, or one a coordinate")
    parser.add_option("--start", int, 0, help="first n (whole; 1e12 is allowed)")
    parser.add_option("--count", int, 10, help="how many points")
    parser.add_option("--bits", int | None, None, help="64, 128 (default) or 256 of a phase; a skew shift's follow n")
    parser.add_option("--skew", int | None, None, help="skew shift in this dimension instead, --alpha its frequency")
    parser.add_option("--shift", int | None, None, help="seed of a uniform random shift")
    parser.add_option("--scramble", int | None, None, help="seed of a nested uniform scramble")
    parser.switch("--allow-resonant", "accept a frequency with a rational relation")
    parser.add_option("--out", str | None, None, help="write points, n and what they are into this .npz file")
    given = parser.parse_args(argv)
    start, size = given.start, given.count
    check_output("--out", given.out, ".npz")
    if size < 1:
        raise UsageError(f"--count is {size}; expected at least 1")
    if size > 10**8:
        raise UsageError(f"--count is {size}; at most 1e8 points (1.6 GB at two coordinates) are written into a file")
    if given.json and given.out is None and size > 10**6:
        raise UsageError(f"--count is {size}; at most 1e6 points are printed as JSON, write them with --out FILE.npz")
    if given.skew is not None:
        if given.shift is not None or given.scramble is not None:
            raise UsageError("a skew shift is neither shifted nor scrambled; leave --shift and --scramble away")
        skew = skew_shift(given)
        sequence: shifts.SkewShift | shifts.Kronecker | shifts.Scrambled = skew
        bits, error = given.bits, skew.phase_error(start + size)
    else:
        kronecker = shifts.Kronecker(given.alpha, given.theta, given.bits, allow_resonant=given.allow_resonant)
        kronecker = kronecker if given.shift is None else kronecker.shifted(given.shift)
        error = max(kronecker.phase_error(start), kronecker.phase_error(start + size))
        sequence = kronecker if given.scramble is None else shifts.Scrambled(kronecker, given.scramble)
        bits = kronecker.bits
    facts = {"alpha": given.alpha, "theta": given.theta, "start": start, "count": size, "bits": bits,
             "phase_error": error, "scramble": given.scramble, "shift": given.shift, "skew": given.skew}  # fmt: skip
    if given.out is not None:
        import numpy as np

        sequence.points(start, start)  # what it refuses is refused before the work
        watch = Watch(f"writing {size} points", "fewer points are quicker")
        with show.progress("points") as progress:
            blocks = _blocks(start, start + size, watch, progress)
            path = saved(
                given.out,
                facts,
                points=Parts((size, sequence.dim), "<f8", (sequence.points(a, b) for a, b in blocks)),
                n=Parts((size,), "<i8", (np.arange(a, b) for a, b in _blocks(start, start + size))),
            )
        return tell(given, {**facts, "file": str(path)}, str(path))
    points = sequence.points(start, start + (size if given.json else min(size, 1000)))
    table = Table("n", *(f"x{j + 1}" for j in range(points.shape[1])))
    for n, row in zip(range(start, start + 1000), points, strict=False):
        table.add_row(str(n), *(f"{x:.16f}" for x in row))
    more = f"; {size - 1000} more points left out" if size > 1000 else ""
    listed = {**facts, "points": points.tolist()} if given.json else {}
    return tell(given, listed, table, f"phase error at most {error:.2g}{more}")


def _blocks(
    start: int, stop: int, watch: Watch | None = None, progress: Callable[[float], None] | None = None
) -> Iterator[tuple[int, int]]:
    """The ranges in which points are made and written."""
    for begin in range(start, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        yield begin, end
        if watch is not None and progress is not None:
            watch(end - start, stop - start)
            progress((end - start) / (stop - start))


def _fraction(argv: list[str]) -> int:
    parser = _parser("fraction", "The continued fraction of one number, as far as its bits determine it.")
    parser.add_option("--terms", int, 20, help="partial quotients")
    given = parser.parse_args(argv)
    found = shifts.continued_fraction(given.alpha, given.terms)
    table = Table("k", "a_k", "p_k", "q_k")
    for k, (a, (p, q)) in enumerate(zip(found.quotients, found.convergents, strict=True)):
        table.add_row(str(k), str(a), str(p), str(q))
    end = "complete" if found.complete else "its bits determine no more" if found.exhausted else "goes on"
    return tell(given, {"alpha": given.alpha, **found.to_dict()}, table, end)


def _best(argv: list[str]) -> int:
    parser = _parser("best", "Best approximations: n with small ‖n α‖, or with --dual k with small ‖k · α‖.")
    parser.add_option("--limit", int, 1_000_000, help="largest n, or |k|")
    parser.switch("--dual", "linear forms k · α instead of multiples n α")
    given = parser.parse_args(argv)
    limit = given.limit
    with show.busy("searching the lattice"):
        found = shifts.best_dual(given.alpha, limit) if given.dual else shifts.best_simultaneous(given.alpha, limit)
        try:
            estimate = shifts.estimate_dc(given.alpha, "dual" if given.dual else "simultaneous", limit)
        except UsageError as error:  # too few records, or a relation
            estimate, why = None, str(error)
    table = Table("|k|" if given.dual else "n", *(["k"] if given.dual else []), "distance")
    for size, vector, distance in zip(found.sizes, found.vectors, found.distances, strict=True):
        table.add_row(str(size), *([str(list(vector))] if given.dual else []), f"{float(distance):.6g}")
    facts = {**found.to_dict(), "estimate": estimate and estimate.to_dict()}
    return tell(given, facts, table, str(estimate) if estimate else f"no exponent: {why}")


def _certify(argv: list[str]) -> int:
    parser = _parser("certify", "Check ‖n α‖ ≥ κ / n^τ for all 1 ≤ n ≤ limit; a certificate, or the n that breaks it.")
    parser.add_option("--kappa", float, 0.1, help="κ")
    parser.add_option("--tau", float, 1.0, help="τ")
    parser.add_option("--limit", int, 1_000_000, help="largest n")
    given = parser.parse_args(argv)
    found = shifts.certify_wdc(given.alpha, given.kappa, given.tau, given.limit)
    verdict = "holds" if found else f"fails, first at n = {found.violation}"
    return tell(
        given,
        {"alpha": given.alpha, **found.to_dict()},
        f"WDC(kappa = {found.kappa:g}, tau = {found.tau:g}) {verdict}, for 1 <= n <= {found.limit}",
        f"the largest kappa in that range is {found.constant:.6g}, reached at n = {found.closest}",
    )


ACTIONS = {"points": _points, "fraction": _fraction, "best": _best, "certify": _certify}
