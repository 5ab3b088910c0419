"""Denoisers to learn from: runs and model folders of ours, and U-Nets in the format of the package diffusers."""

from tenfold.energy.model import DenoisingModel
from tenfold.hub.fetch import model_folder

Teacher = DenoisingModel


def read_teacher(source: str) -> Teacher:
    """The denoiser of a run, a model folder or a hub id."""
    return DenoisingModel.from_pretrained(model_folder(source))
