"""log Z(σ) of an energy, measured on a grid and kept beside its weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
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

    def log_z(self, sigma: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """log Z at noise levels, linear in ln σ between the measured ones and constant beyond them."""
        places = torch.tensor(self.sigma, dtype=sigma.dtype, device=sigma.device).log()
        values = torch.tensor(self.values, dtype=sigma.dtype, device=sigma.device)
        if len(values) == 1:
            return values.expand_as(sigma)
        at = sigma.log().clamp(places[0], places[-1])
        above = torch.searchsorted(places, at.contiguous()).clamp(1, len(places) - 1)
        share = (at - places[above - 1]) / (places[above] - places[above - 1])
        return torch.lerp(values[above - 1], values[above], share)


def write_normalisers(folder: Path, found: Mapping[int, Normaliser]) -> None:
    """Put them into a model folder, by the number of the class (−1 for no class); no file where there are none."""
    if found:
        write_json(folder / _FILE, {str(label): vars(one) for label, one in found.items()})


def read_normalisers(folder: Path) -> dict[int, Normaliser]:
    """What ``write_normalisers`` wrote; raises UsageError for a file that is none of ours."""
    file = folder / _FILE
    if not file.is_file():
        return {}
    try:
        return {int(label): Normaliser(**one) for label, one in read_json(file).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{file} holds no normalisers ({error}); calibrate the model again") from None
