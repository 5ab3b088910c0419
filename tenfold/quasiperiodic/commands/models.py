"""Models by name and in words: what the command line makes operators of."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.commands.config import MODELS, ModelOptions
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import Hopping, exponential, nearest_neighbour, power_law, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange

_HOPPINGS = ("nearest[:T]", "exponential:RATE[:RADIUS]", "power:EXPONENT:RADIUS", "list:M=A,M=A,...")


def _list(text: str) -> list[str]:
    return [x.strip() for x in text.split(",") if x.strip()]


def _theta(o: ModelOptions) -> str | list[str]:
    given = _list(o.theta)
    return given[0] if len(given) == 1 else given


def _one(o: ModelOptions) -> str:
    given = _list(o.frequency) or ["golden"]
    if len(given) > 1:
        raise UsageError(f"the model {o.model!r} has one frequency, not {len(given)}; use --model multi-frequency")
    return given[0]


def _several(o: ModelOptions, *otherwise: str) -> list[str]:
    return _list(o.frequency) or list(otherwise)


def _skew(o: ModelOptions) -> LongRange:
    given = _list(o.theta)
    return presets.skew_shift(o.coupling, _one(o), given if len(given) > 1 else given * 2, o.allow_resonant)


_BUILDERS: dict[str, Callable[[ModelOptions], LongRange]] = {
    "free": lambda o: presets.free(o.dim),
    "aubry-andre": lambda o: presets.aubry_andre(o.coupling, _one(o), _theta(o), o.allow_resonant),
    "maryland": lambda o: presets.maryland(o.coupling, _one(o), _theta(o), o.allow_resonant),
    "gps": lambda o: presets.ganeshan_pixley_das_sarma(o.coupling, o.deformation, _one(o), _theta(o), o.allow_resonant),
    "sturmian": lambda o: presets.sturmian(o.coupling, _one(o), _theta(o), o.allow_resonant),
    "exponential": lambda o: presets.exponential_hopping(o.coupling, 1.0, 1.0, _one(o), _theta(o), o.allow_resonant),
    "multi-frequency": lambda o: presets.multi_frequency(
        o.coupling, _several(o, "silver", "sqrt(3)"), _theta(o), None, o.allow_resonant
    ),
    "lattice": lambda o: presets.lattice_cosines(
        o.coupling, _several(o, "golden", "silver"), _theta(o), o.allow_resonant
    ),
    "skew-shift": _skew,
}


def build(options: ModelOptions) -> LongRange:
    """The operator. Raises UsageError for an unknown model, or what the model itself refuses."""
    if options.model not in MODELS:
        raise UsageError(f"there is no model {options.model!r}{suggest(options.model, MODELS)}")
    operator = _BUILDERS[options.model](options)
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
    if points < 1 or (logarithmic and not 0 < low <= high):
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
