"""log Z(σ) of an energy, measured on a grid and kept beside its weights."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.files import read_json, write_json
from tenfold.settings.checks import settings

_FILE = "normalisers.json"


@settings
class Normaliser:
    """log Z(σ) = log ∫ exp(−E(x, σ)) dx at some noise levels, with the standard error of each.

    Attributes:
        sigma: noise levels, rising.
        values: log Z at each, in nats.
        errors: standard errors, in nats.
    """

    sigma: tuple[float, ...] = (1.0,)
    values: tuple[float, ...] = (0.0,)
    errors: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.sigma, self.sigma[1:], strict=False))
        if not (len(self.sigma) == len(self.values) == len(self.errors) > 0 and rising and self.sigma[0] > 0):
            raise UsageError("a normaliser needs rising positive noise levels, and a value and an error for each")

    @cached_property
    def _curve(self) -> CubicSpline:
        one = len(self.sigma) == 1
        return CubicSpline([0, 1], 2 * self.values) if one else CubicSpline(np.log(self.sigma), self.values)

    def log_z(self, sigma: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """log Z at noise levels: a cubic spline in ln σ through the measured ones (it bends by hundreds of nats where
        there is little noise), constant beyond them."""
        curve = self._curve
        places, rates = (torch.from_numpy(part).to(sigma.device) for part in (curve.x, curve.c))
        at = sigma.double().log().clamp(places[0], places[-1])
        below = torch.searchsorted(places, at.contiguous(), right=True).sub(1).clamp(0, len(places) - 2)
        step, (cubic, square, slope, value) = at - places[below], rates[:, below]
        return (((cubic * step + square) * step + slope) * step + value).to(sigma.dtype)


def write_normalisers(folder: Path, found: Mapping[int, Normaliser]) -> None:
    """Put them into a model folder, by the number of the class (−1 for no class); no file where there are none."""
    if found:
        write_json(folder / _FILE, {str(label): asdict(one) for label, one in found.items()})


def read_normalisers(folder: Path) -> dict[int, Normaliser]:
    """What ``write_normalisers`` wrote; raises UsageError for a file that is none of ours."""
    file = folder / _FILE
    if not file.is_file():
        return {}
    try:
        return {int(label): Normaliser(**one) for label, one in read_json(file).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{file} holds no normalisers ({error}); calibrate the model again") from None
