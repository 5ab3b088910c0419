"""What ``tenfold dynamics`` computes: each action gives facts, rows, arrays and panels of a picture."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import isfinite, prod
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64

from tenfold.errors import TenfoldError, UsageError
from tenfold.figures.panels import Curve, Panel, draw
from tenfold.figures.style import write_captions
from tenfold.files import disk_errors, write_json
from tenfold.quasiperiodic.commands.arrays import Parts, Spool, write_arrays
from tenfold.quasiperiodic.commands.config import ModelOptions, WorkOptions
from tenfold.quasiperiodic.commands.models import build, complex_numbers, numbers
from tenfold.quasiperiodic.dynamics.averages import time_averaged
from tenfold.quasiperiodic.dynamics.bound import transport_bound
from tenfold.quasiperiodic.dynamics.evolution import (
    certified_box,
    check_times,
    evolve,
    moments_of_probabilities,
    powers,
)
from tenfold.quasiperiodic.dynamics.transport import transport_exponents
from tenfold.quasiperiodic.facts import plain
from tenfold.quasiperiodic.operators.border import choice
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.states import supports
from tenfold.quasiperiodic.operators.windows import NORMS
from tenfold.quasiperiodic.propagation.front import front_radius, growth
from tenfold.quasiperiodic.spectral.goodbox import theta_grid, theta_scan
from tenfold.quasiperiodic.spectral.green import green_columns, green_decay
from tenfold.quasiperiodic.spectral.lyapunov import lyapunov_exponents
from tenfold.reports.html import write_report
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder, provenance
from tenfold.settings.values import read

Done = Callable[[float], None]


@dataclass(frozen=True)
class Computed:
    """``facts`` for JSON, ``rows`` for the table and evaluation.json, ``arrays`` for the npz file, ``panels`` of the
    picture with its ``caption``."""

    facts: dict[str, Any]
    rows: list[Measurement]
    arrays: dict[str, np.ndarray | Parts] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)
    caption: str = ""

    def write(self, folder: RunFolder, name: str, settings: dict[str, Any]) -> None:
        """Make the run folder: results.json, arrays.npz, the picture and the page."""
        if self.panels:
            draw(self.panels, folder.figures / "result.png")
        folder.start({"name": name, "system": "quasiperiodic", **settings})
        with disk_errors(str(folder.path)):
            write_json(folder.path / "results.json", self.facts)
            if self.arrays:
                write_arrays(folder.path / "arrays.npz", **self.arrays)
            if self.panels:
                write_captions(folder.figures, {"result.png": self.caption})
            folder.write_evaluation(self.rows)
            folder.write_provenance(**provenance())
            write_report(folder.path)


def perform(action: str, model: ModelOptions, work: WorkOptions, done: Done, spool: Spool | None = None) -> Computed:
    """One action; the probabilities at all times are put into ``spool``, if they are wanted, and have to be written
    before it is closed. Raises UsageError for bad settings before any work, TenfoldError for a result that is not a
    finite number."""
    choice(work.norm, "norm", NORMS)
    made = _STATES[action](model, work, done, spool) if action in _STATES else _ACTIONS[action](model, work, done)
    for row in made.rows:
        if not isfinite(row.value):
            raise TenfoldError(f"{row.name} is {row.value}, no finite number: the request leaves the range of floats")
    return replace(made, facts=plain(made.facts))


def _row(name: str, value: float, model: str, standard_error: float | None = None, **more: Any) -> Measurement:
    error = standard_error if standard_error is not None and isfinite(standard_error) else None
    return Measurement(name, float(value), model=model, standard_error=error, **more)


def _box(work: WorkOptions, default: str) -> int | str:
    text = work.box or default
    try:
        return int(read(int, text, "--box", text=True))
    except UsageError:
        return text


def _kept(spool: Spool | None, rows: Float64[np.ndarray, "n N"], box: Box) -> Float64[np.ndarray, "n kept"]:
    """Where probabilities lie in the spool, and how far their box reaches; nothing without a spool."""
    if spool is None:
        return np.empty((len(rows), 0))
    return np.stack([spool.put(rows), np.full(len(rows), box.shape[0] // 2)], axis=-1)


def _probabilities(spool: Spool, kept: Float64[np.ndarray, "n kept"], box: Box) -> Parts:
    """Probabilities (n, N) in the last box, from those that were put aside in it or in smaller boxes inside."""

    def rows() -> Iterator[np.ndarray]:
        for at, reach in kept:
            sides = [int(2 * reach + 1)] * len(box.shape) if box.boundary == "open" else list(box.shape)
            row = spool.get(at, prod(sides)).reshape(sides)
            yield np.pad(row, [((n - s) // 2,) * 2 for n, s in zip(box.shape, sides, strict=True)]).reshape(1, -1)

    return Parts((len(kept), box.size), "<f8", rows())


def _evolve(model: ModelOptions, work: WorkOptions, done: Done, spool: Spool | None) -> Computed:
    times, exponents = numbers(work.times, "--times"), powers(numbers(work.p, "--p"))
    operator = build(model)
    if work.fit:
        transport_exponents(times, np.ones(len(times)))

    def keep(box: Box, states: Complex128[np.ndarray, "n 1 N"]) -> Float64[np.ndarray, "n 1 kept"]:
        rows = np.abs(states[:, 0]) ** 2
        found = moments_of_probabilities(box, rows, exponents, work.norm)
        return np.concatenate([found, _kept(spool, rows, box)], axis=-1)[:, None]

    result = evolve(
        operator, None, times, tol=work.tol, method=work.method or "auto", box=_box(work, "certified"),
        centre=work.centre, progress=done, keep=keep,
    )  # fmt: skip
    moments = result.psi[:, : len(exponents)]
    some = sorted({0, len(times) // 2, len(times) - 1})
    rows, curves, fits = _growth("moment", "t", times, moments, exponents, operator.name, some)
    rows.append(_row("error_bound", result.error_bound, operator.name, note=result.certificate))
    panels = [Panel(f"{operator.name}: moments", "t", "<|X|^p>", curves, "log", "log")]
    facts = {**result.to_dict(), "p": exponents.tolist(), "norm": work.norm, "moments": moments.tolist(), "fits": fits}
    written: dict[str, np.ndarray | Parts] = {
        "times": np.array(times),
        "p": exponents,
        "moments": moments,
        "sites": result.box.sites,
    }
    if spool is not None:
        written["probabilities"] = _probabilities(spool, result.psi[:, len(exponents) :], result.box)
    return Computed(facts, rows, written, panels, f"Moments of the wave packet, {result.certificate}.")


def _average(model: ModelOptions, work: WorkOptions, done: Done, spool: Spool | None) -> Computed:
    scales, exponents = numbers(work.scales, "--scales"), powers(numbers(work.p, "--p"))
    operator = build(model)

    def keep(box: Box, rows: Float64[np.ndarray, "1 1 N"]) -> Float64[np.ndarray, "1 1 kept"]:
        return _kept(spool, rows[:, 0], box)[:, None]

    result = time_averaged(
        operator, None, scales, exponents.tolist(), kind=work.kind, method=work.method or "eig", norm=work.norm,
        box=_box(work, "adaptive"), centre=work.centre, tol=work.tol, edge_tol=work.edge_tol, progress=done, keep=keep,
    )  # fmt: skip
    rows, curves, fits = _growth(
        "averaged_moment", "T", scales, result.moments, exponents, operator.name, range(len(scales)), work.fit
    )
    rows.append(_row("error_bound", result.error_bound, operator.name, note="of the method, rounding included"))
    rows.append(_row("box_bound", result.box_bound.max(), operator.name, note=f"of the box, {result.certificate}"))
    rows.append(_row("edge_mass", result.edge_mass, operator.name))
    panels = [Panel(f"{operator.name}: {result.kind} averages", "T", "<|X|^p>", curves, "log", "log")]
    arrays: dict[str, np.ndarray | Parts] = {"T": result.T, "p": result.p, "moments": result.moments}
    arrays["sites"] = result.box.sites
    if spool is not None:
        arrays["probabilities"] = _probabilities(spool, result.probabilities, result.box)
    return Computed({**result.to_dict(), "fits": fits}, rows, arrays, panels, "Time-averaged moments.")


def _growth(
    name: str,
    symbol: str,
    times: list[float],
    moments: Float64[np.ndarray, "t p"],
    exponents: Float64[np.ndarray, " p"],
    model: str,
    shown: Iterable[int],
    always: bool = False,
) -> tuple[list[Measurement], list[Curve], list[dict[str, Any]]]:
    """Moments over times: rows at those ``shown``, curves, and exponents where the times reach far enough."""
    rows, curves, fits = [], [], []
    for p, values in zip(exponents, moments.T, strict=True):
        rows += [_row(f"{name}_p{p:g}", values[i], model, split=f"{symbol} = {times[i]:g}") for i in shown]
        curves.append(Curve(times, values, f"p = {p:g}", "both"))
        try:
            fit = transport_exponents(times, values, float(p))
        except UsageError:
            if always:
                raise
            continue
        fits.append(fit.to_dict())
        error = fit.beta.standard_error
        rows.append(_row(f"beta_p{p:g}", fit.beta.slope, model, standard_error=error, note=fit.preferred))
    return rows, curves, fits


def _lyapunov(model: ModelOptions, work: WorkOptions, done: Done) -> Computed:
    energies = complex_numbers(work.energies, "--energies")
    real = all(e.imag == 0 for e in energies)
    operator = build(model)
    given = np.array([e.real for e in energies]) if real else np.array(energies)
    result = lyapunov_exponents(operator, given, work.steps, progress=done)
    rows = []
    for i, e in enumerate(energies):
        for j in range(result.exponents.shape[-1]):
            name = "lyapunov" if result.exponents.shape[-1] == 1 else f"lyapunov_{j + 1}"
            error = float(result.standard_errors[i, j])
            split = f"E = {e.real:g}" if real else f"E = {e:g}"
            rows.append(_row(name, result.exponents[i, j], operator.name, split=split, standard_error=error))
    curves = [Curve(given.real, result.exponents[:, j], "", "both") for j in range(result.exponents.shape[-1])]
    panels = [Panel(f"{operator.name}: Lyapunov exponents", "Re E", "exponent", curves)]
    arrays: dict[str, np.ndarray | Parts] = {
        "energies": given,
        "exponents": result.exponents,
        "standard_errors": result.standard_errors,
    }
    return Computed({"model": operator.name, **result.to_dict()}, rows, arrays, panels, "Lyapunov exponents.")


def _green(model: ModelOptions, work: WorkOptions, done: Done) -> Computed:
    energies = complex_numbers(work.energies, "--energies")
    operator = build(model)
    reach = _reach(work, 200)
    box = operator.box(reach, work.centre)
    fits, curves = [], []
    for i, z in enumerate(energies):
        fits.append(green_decay(box, z, norm=work.norm))
        column = np.abs(green_columns(box, z))
        curves.append(Curve(box.distance(work.norm), column, f"z = {z:g}", "points"))
        done((i + 1) / len(energies))
    rows = [
        _row("green_decay", f.rate, operator.name, split=f"z = {f.z:g}", standard_error=f.standard_error) for f in fits
    ]
    panels = [Panel(f"{operator.name}: |G(n, 0; z)|", "|n|", "|G|", curves, yscale="log")]
    facts = {"box": box.to_dict(), "fits": [f.to_dict() for f in fits]}
    return Computed(facts, rows, {}, panels, "Decay of the Green's function.")


def _boxes(model: ModelOptions, work: WorkOptions, done: Done) -> Computed:
    energies = complex_numbers(work.energies, "--energies")
    if len(energies) != 1 or energies[0].imag:
        raise UsageError(f"--energies is {work.energies!r}; good boxes are tested at one real energy")
    operator = build(model)
    torus = 1 if operator.orbit is None else operator.orbit.torus
    scan = theta_scan(
        operator, _reach(work, 20), energies[0].real, theta_grid(work.points, torus), work.decay, work.smallness, done
    )
    rows = [_row("bad_fraction", scan.bad_fraction, operator.name, draws=len(scan.theta), note=f"side {scan.side}")]
    panels = []
    if torus == 1:
        curves = [Curve(scan.theta[:, 0], scan.rates, "decay rate", "points")]
        panels = [Panel(f"{operator.name}: good boxes", "theta", "rate c", curves)]
    arrays: dict[str, np.ndarray | Parts] = {
        "theta": scan.theta,
        "good": scan.good,
        "norms": scan.norms,
        "rates": scan.rates,
    }
    return Computed(scan.to_dict(), rows, arrays, panels, "The largest decay rate of a box's Green's function.")


def _reach(work: WorkOptions, default: int) -> int:
    reach = _box(work, str(default))
    if not isinstance(reach, int):
        raise UsageError(f"--box is {work.box!r}; this action needs a number of sites")
    return reach


def _front(model: ModelOptions, work: WorkOptions, done: Done) -> Computed:
    if work.mu is not None and work.times != WorkOptions().times:
        raise UsageError("--mu asks for the growth at one rate, which does not depend on --times; leave one away")
    until = float(np.abs(check_times(numbers(work.times, "--times"))).max())
    operator = build(model)
    centre = (work.centre,) * operator.dim
    if work.mu is not None:
        speed = growth(operator.hopping, work.mu)
        facts: dict[str, Any] = {"mu": work.mu, "growth": speed}
        rows = [_row("growth", speed, operator.name, note=f"S(mu) at mu = {work.mu:g}")]
        return Computed(facts, rows)
    box, bound, _ = certified_box(operator, supports(None, centre), until, work.tol, centre)
    done(1.0)
    reach = box.shape[0] // 2
    pointwise = front_radius(operator.hopping, until, work.tol)
    rows = [
        _row("certified_reach", reach, operator.name, unit="sites", note=f"truncation error {bound:.1e}"),
        _row("front_radius", pointwise, operator.name, unit="sites", note=f"|psi_n| <= {work.tol:g} beyond"),
    ]
    facts = {"time": until, "tol": work.tol, "reach": reach, "truncation_bound": bound, "front_radius": pointwise}
    return Computed({**facts, "sites": box.size, "holds_for": "every real potential"}, rows)


def _bound(model: ModelOptions, work: WorkOptions, done: Done) -> Computed:
    given = [x for x in work.quotients.split(",") if x.strip()]
    quotients = [read(int, x, "--quotients", text=True) for x in given] if work.quotients else None
    p = numbers(work.p, "--p")
    if len(p) != 1:
        raise UsageError(f"--p is {work.p!r}; the bound is for one exponent")
    if work.side is not None and quotients is None:
        raise UsageError("--side is for a frequency by its --quotients; give both or neither")
    found = transport_bound(
        work.torus, work.degree, work.smallness,
        p=p[0], tau=work.tau, dual=work.dual, quotients=quotients, side=work.side,
    )  # fmt: skip
    done(1.0)
    rows = []
    if isfinite(found.moment):
        rows.append(
            _row("log_power", found.moment, found.case, note=found.reason or "exponent of log T, up to epsilon")
        )
    if work.side is not None:
        within = found.good_within
        rows.append(_row("good_box_guaranteed", within is not None, found.case, note=found.reason))
        rows += [] if within is None else [_row("good_within", min(within, 10**300), found.case, unit="sites")]
    return Computed(found.to_dict(), rows)


_STATES = {"evolve": _evolve, "average": _average}
_ACTIONS: dict[str, Callable[[ModelOptions, WorkOptions, Done], Computed]] = {
    "lyapunov": _lyapunov,
    "green": _green,
    "boxes": _boxes,
    "front": _front,
    "bound": _bound,
}
