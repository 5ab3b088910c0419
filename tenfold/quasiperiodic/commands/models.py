"""Models by name and in words: what the command line makes operators of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.commands.config import MODELS, ModelOptions
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import Hopping, exponential, nearest_neighbour, power_law, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.shifts.costs import require
from tenfold.shifts.frequency import Frequency

_HOPPINGS = ("nearest[:T]", "exponential:RATE[:RADIUS]", "power:EXPONENT:RADIUS", "list:M=A,M=A,...")


# What a model makes of its options, its frequency (in words), theta and whether relations are accepted.
_Builder = Callable[[ModelOptions, str, str, bool], LongRange]
_BUILDERS: dict[str, _Builder] = {
    "free": lambda o, *_: presets.free(o.dim),
    "aubry-andre": lambda o, *orbit: presets.aubry_andre(o.coupling, *orbit),
    "maryland": lambda o, *orbit: presets.maryland(o.coupling, *orbit),
    "gps": lambda o, *orbit: presets.ganeshan_pixley_das_sarma(o.coupling, o.deformation, *orbit),
    "sturmian": lambda o, *orbit: presets.sturmian(o.coupling, *orbit),
    "exponential": lambda o, *orbit: presets.exponential_hopping(o.coupling, 1.0, 1.0, *orbit),
    "multi-frequency": lambda o, alphas, theta, resonant: presets.multi_frequency(
        o.coupling, alphas, theta, None, resonant
    ),
    "lattice": lambda o, *orbit: presets.lattice_cosines(o.coupling, *orbit),
    "skew-shift": lambda o, omega, theta, resonant: presets.skew_shift(
        o.coupling, omega, theta if "," in theta else f"{theta},{theta}", resonant
    ),
}
_SEVERAL = {"multi-frequency": "silver,sqrt3", "lattice": "golden,silver"}


def build(options: ModelOptions) -> LongRange:
    """The operator. Raises UsageError for an unknown model, or what the model itself refuses."""
    if options.model not in MODELS:
        raise UsageError(f"there is no model {options.model!r}{suggest(options.model, MODELS)}")
    frequency = options.frequency or _SEVERAL.get(options.model, "golden")
    if options.model not in _SEVERAL and (several := Frequency.of(frequency).dim) > 1:
        raise UsageError(f"the model {options.model!r} has one frequency, not {several}; use --model multi-frequency")
    if options.model == "free" and options.hopping and options.dim != 1:
        raise UsageError(f"--hopping is on Z, but --dim is {options.dim}; leave one away")
    operator = _BUILDERS[options.model](options, frequency, options.theta, options.allow_resonant)
    return replace(operator, hopping=read_hopping(options.hopping)) if options.hopping else operator


def read_hopping(text: str) -> Hopping:
    """One of "nearest:T", "exponential:RATE:RADIUS", "power:EXPONENT:RADIUS", "list:1=1,2=0.3+0.1j".

    A list with positive offsets alone is completed by its conjugates; with negative ones it must be Hermitian."""
    kind, _, rest = text.partition(":")
    parts = rest.split(":") if rest else []
    try:
        if kind == "nearest" and len(parts) <= 1:
            return nearest_neighbour(1, float(parts[0]) if parts else 1.0)
        if kind == "exponential" and 1 <= len(parts) <= 2:
            return exponential(1.0, float(parts[0]), radius=int(parts[1]) if len(parts) == 2 else None)
        if kind == "power" and len(parts) == 2:
            return power_law(1.0, float(parts[0]), int(parts[1]))
        if kind == "list" and rest:
            return _listed(rest.split(","))
    except UsageError:
        raise
    except ValueError:
        pass
    raise UsageError(f"the hopping {text!r} cannot be read; expected one of {', '.join(_HOPPINGS)}")


def _listed(items: Sequence[str]) -> Hopping:
    offsets, coefs = [], []
    for item in items:
        offset, _, coefficient = item.partition("=")
        offsets.append(int(offset))
        value = complex(coefficient)
        coefs.append(value if value.imag else value.real)
    m, a = np.array(offsets), np.array(coefs)
    return Hopping(m, a) if m.min() <= 0 else symmetric(m, a)


def numbers(text: str, name: str, logarithmic: bool = True) -> list[float]:
    """ "1,2,5", or "FIRST:LAST:COUNT" spaced logarithmically (linearly for energies and angles).

    >>> numbers("1:100:3", "--times"), numbers("-2:2:3", "--energies", logarithmic=False)
    ([1.0, 10.0, 100.0], [-2.0, 0.0, 2.0])
    """
    try:
        if ":" not in text:
            return [float(x) for x in text.split(",")]
        first, last, count = text.split(":")
        low, high, points = float(first), float(last), int(count)
    except ValueError:
        raise UsageError(f"{name} is {text!r}; expected numbers such as 1,2,5 or FIRST:LAST:COUNT") from None
    require(64 * max(points, 0), f"{name} {text!r}")
    if points < 1 or not (isfinite(low) and isfinite(high)) or (logarithmic and not 0 < low <= high):
        ends = "0 < FIRST <= LAST" if logarithmic else "FIRST and LAST"
        raise UsageError(f"{name} is {text!r}; FIRST:LAST:COUNT needs {ends} and a COUNT of at least 1")
    made = np.geomspace(low, high, points) if logarithmic else np.linspace(low, high, points)
    return [float(f"{x:.12g}") for x in made]


def complex_numbers(text: str, name: str) -> list[complex]:
    """ "0.1+0.2j,3" as complex numbers."""
    if ":" in text:
        return [complex(x) for x in numbers(text, name, logarithmic=False)]
    try:
        return [complex(x.replace(" ", "")) for x in text.split(",")]
    except ValueError:
        raise UsageError(f"{name} is {text!r}; expected numbers such as 0.3,1+0.01j or FIRST:LAST:COUNT") from None
