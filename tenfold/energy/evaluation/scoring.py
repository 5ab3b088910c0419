"""Log-densities of a user's data, and how unusual they are among test samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.data.images.inputs import InputSource, read_inputs
from tenfold.energy.model import EnergyModel
from tenfold.energy.options import EnergyScoring
from tenfold.energy.sampling import log_density_at
from tenfold.energy.worlds.rows import SampleWorld, to_unit
from tenfold.errors import UsageError
from tenfold.figures.images import ranked
from tenfold.runs.scores import Scores

_COMPARED = 2000


def score(
    model: EnergyModel,
    world: SampleWorld,
    options: EnergyScoring,
    source: InputSource,
    levels: int,
    name: str,
    picture: Path | None,
) -> Scores:
    """Scores of inputs, least likely first: log p_σ at σ = ``options.sigma`` σ_d, up to a constant where log Z was not
    measured, or log p(x | y) − log p(x | other) with both; and "rank", the share of test samples that score lower: near
    0 is what does not belong.

    Raises UsageError, before any work, for classes that the model does not have, a noise level that it was not trained
    on, and inputs of another kind."""
    model.check_label(options.classes)
    model.check_label(options.against)
    config = model.config
    sigma = options.sigma * config.data_scale
    if not config.sigma_min <= sigma <= config.sigma_max:
        raise UsageError(
            f"sigma {options.sigma:g} is a noise level of {sigma:g}, but the model was trained on {config.sigma_min:g} "
            f"to {config.sigma_max:g}; choose one inside"
        )
    inputs = read_inputs(source, config.shape, levels, options.key, options.resize)
    array = torch.from_numpy(np.asarray(inputs.array))
    x = to_unit(array, levels) if inputs.are_pixels else array.float()
    device = next(model.parameters()).device
    own = _values(model, x.to(device), sigma, options)
    usual = _values(model, world.some("test", _COMPARED)[0].to(device), sigma, options)
    below = torch.searchsorted(usual.sort().values, own).double() / len(usual)
    label = -1 if options.classes is None else options.classes
    known = options.against is None and label in model.normalisers
    what = "log p(x | class) − log p(x | against)" if options.against is not None else "log p of noisy data"
    constant = "" if known or options.against is not None else ", up to a constant: log Z was not measured"
    gauge = ""
    if options.against is not None and not {label, options.against} <= set(model.normalisers):
        gauge = ", up to a constant: log Z of the classes was not measured"
    columns = {"log_density": ("nats", own.tolist()), "rank": ("share", below.tolist())}
    found = Scores.ranked(name, inputs.names, columns, f"{what} at σ = {options.sigma:g} σ_d{constant}{gauge}")
    if picture is None or len(config.shape) != 3:
        return found
    place = {one: i for i, one in enumerate(inputs.names)}
    images = x[[place[one] for one in found.names]].clamp(-1, 1)
    return replace(found, files=(ranked(images, [row[0] for row in found.values], picture),))


def _values(
    model: EnergyModel, x: Float[Tensor, "n *shape"], sigma: float, options: EnergyScoring
) -> Float[Tensor, " n"]:
    value = log_density_at(model, x, sigma, options.classes, options.chunk).cpu()
    if options.against is None:
        return value
    return value - log_density_at(model, x, sigma, options.against, options.chunk).cpu()
