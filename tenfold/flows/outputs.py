"""What the verbs write of image flows: samples as files, and scored inputs as a picture."""

import io
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tenfold.data.images.inputs import Inputs
from tenfold.figures.images import image_grid, ranked
from tenfold.files import write_output
from tenfold.flows.loss import to_levels
from tenfold.flows.options import GuidedSampling
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.runs.scores import Scores


def write_samples(
    images: Float[Tensor, "n *shape"], levels: int, options: GuidedSampling, info: SamplingInfo, folder: Path
) -> list[Path]:
    """Samples in the flow's scale, [−1, 1], as a picture grid, ``samples.npz`` (integer levels and float32 values) and
    ``samples.json``, how they were made."""
    clipped = images.clamp(-1, 1)
    arrays = io.BytesIO()
    pixels = to_levels(clipped, levels).cpu().numpy()
    np.savez_compressed(arrays, pixels=pixels, values=images.float().cpu().numpy())
    record = {"options": vars(options), "levels": levels, "info": info.to_dict()}
    numbers = write_output(folder / "samples.npz", arrays.getvalue())
    picture = image_grid(clipped.float().cpu(), folder / "samples.png")
    return [picture, numbers, write_output(folder / "samples.json", json.dumps(record, indent=2))]


def ranked_inputs(inputs: Inputs, found: Scores, levels: int, path: Path) -> Path:
    """A user's images that score lowest, above those that score highest."""
    place = {name: i for i, name in enumerate(inputs.names)}
    images = inputs.array[[place[name] for name in found.names]]
    low, high = (0.0, levels - 1.0) if inputs.are_pixels else (-1.0, 1.0)
    return ranked(images, [values[0] for values in found.values], path, low=low, high=high)
