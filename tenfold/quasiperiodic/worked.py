"""The room's worked examples, by name. Imports no NumPy: an example's function is found when it is run."""

from tenfold.quasiperiodic import examples
from tenfold.runs.system import Example

EXAMPLES = {
    "slabs": Example("discrepancy", "slab deviations against N^{1−1/b}, b = 1, 2, 3", lambda: examples.slabs.run),
    "bad-set": Example("discrepancy", "hits of a set of small determinants", lambda: examples.bad_sets.run),
    "samplers": Example("discrepancy", "variance of losses by time sampler", lambda: examples.samplers.run),
    "aubry-andre": Example(
        "dynamics",
        "the localisation transition on one page: moments, Lyapunov exponents, Green's functions, profiles",
        lambda: examples.transition.run,
    ),
    "log-power": Example(
        "dynamics",
        "two frequencies, long range, t to 1e5: log-power fit and model comparison",
        lambda: examples.log_power.run,
    ),
    "expected": Example(
        "dynamics",
        "closed forms and independently computed values, each in its range",
        lambda: examples.expected.run,
    ),
    "scale": Example("dynamics", "cost against size: boxes to 1e6 sites, d = 2, t to 1e5", lambda: examples.scale.run),
}
