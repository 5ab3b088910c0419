"""What ``tenfold dynamics`` can be asked, as names and settings. Imports nothing heavy."""

from tenfold.settings.checks import settings

MODELS = {
    "free": "no potential, nearest neighbours on Z^dim",
    "aubry-andre": "2 lambda cos 2 pi(theta + n alpha)",
    "maryland": "lambda tan pi(theta + n alpha)",
    "gps": "2 lambda cos x/(1 - g cos x), Ganeshan-Pixley-Das Sarma",
    "sturmian": "lambda where theta + n alpha is in [1 - alpha, 1); Fibonacci at the golden mean",
    "exponential": "hopping e^-|m|, lambda cos 2 pi(theta + n alpha)",
    "multi-frequency": "lambda sum_j cos 2 pi(theta_j + n alpha_j)",
    "lattice": "lambda sum_j cos 2 pi(theta_j + n_j alpha_j) on Z^d, one frequency an axis",
    "skew-shift": "2 lambda cos 2 pi x_b along the skew shift from theta",
}
ACTIONS = {
    "evolve": "moments of psi(t) at --times, with exponents over a decade or more",
    "average": "time-averaged moments at --scales",
    "lyapunov": "Lyapunov exponents at --energies",
    "green": "decay of the Green's function at --energies",
    "boxes": "good boxes over a grid of theta at one of --energies",
    "front": "the certified box for the last of --times",
    "bound": "the exponent of the logarithmic bound from --torus, --degree, --smallness",
}


# Which options each action and each model use: others are refused, as they would change nothing.
USED = {
    "evolve": "times p norm box centre tol method fit",
    "average": "scales p norm box centre tol edge_tol method kind fit",
    "lyapunov": "energies steps",
    "green": "energies norm box centre",
    "boxes": "energies box points decay smallness",
    "front": "times centre tol mu",
    "bound": "p torus degree smallness tau dual quotients side",
}
MODEL_USED = {name: "coupling frequency theta hopping allow_resonant" for name in MODELS} | {
    "free": "dim hopping",
    "gps": "coupling frequency theta hopping deformation allow_resonant",
}


@settings
class ModelOptions:
    """A model in words.

    Args:
        model: its name (free, aubry-andre, maryland, gps, sturmian, exponential, multi-frequency,
            lattice, skew-shift).
        coupling: lambda.
        frequency: alpha, or several separated by commas: numbers, 377/610, golden, silver, sqrt(2), cbrt(2), e, pi,
            or a name of several: cubic, rd:2, liouville:1,1000.
        theta: phases, separated by commas.
        hopping: instead of the model's own: nearest:T, exponential:RATE[:RADIUS], power:EXPONENT:RADIUS,
            list:1=1.0,2=0.3+0.1j.
        deformation: g of the gps model, below 1 in size.
        dim: the lattice's dimension of the free model.
        allow_resonant: accept rational and dependent frequencies.
    """

    model: str = "aubry-andre"
    coupling: float = 2.0
    frequency: str = ""
    theta: str = "0"
    hopping: str = ""
    deformation: float = 0.5
    dim: int = 1
    allow_resonant: bool = False


@settings
class WorkOptions:
    """What to compute.

    Args:
        times: of evolve: numbers, or FIRST:LAST:COUNT (logarithmic).
        scales: T of average, the same way.
        energies: of lyapunov, green, boxes: numbers (complex: 0.3+0.1j), or FIRST:LAST:COUNT (linear).
        p: exponents of the moments (one of bound).
        norm: of n: linf, l2 or l1.
        box: certified, adaptive, or how many sites it reaches from its centre.
        centre: the initial state's site.
        tol: error in norm that is aimed at.
        edge_tol: averaged mass that average allows at the box's edge; the square root of tol by default.
        method: of evolve (auto, chebyshev, lanczos, dense) or average (eig, resolvent, quadrature).
        kind: of average: abel, cesaro, gaussian.
        fit: fail where the times are too short for an exponent, instead of leaving it out.
        steps: of lyapunov.
        points: of boxes: the grid of theta.
        decay: of boxes: the wanted decay rate c.
        smallness: s of boxes and bound.
        mu: of front: a decay rate to use instead of the best.
        torus: b of bound.
        degree: q of bound.
        tau: WDC exponent of bound.
        dual: DC exponent of bound.
        quotients: partial quotients of bound (b = 1), separated by commas.
        side: the box's side M of bound with quotients.
    """

    times: str = "1:100:21"
    scales: str = "10,100"
    energies: str = "0"
    p: str = "2"
    norm: str = "linf"
    box: str = ""
    centre: int = 0
    tol: float = 1e-12
    edge_tol: float | None = None
    method: str = ""
    kind: str = "abel"
    fit: bool = False
    steps: int = 100_000
    points: int = 200
    decay: float = 0.5
    smallness: float = 0.5
    mu: float | None = None
    torus: int = 2
    degree: float = 1.0
    tau: float | None = None
    dual: float | None = None
    quotients: str = ""
    side: float | None = None
