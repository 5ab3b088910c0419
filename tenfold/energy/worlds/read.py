"""The world that a recipe's data settings name."""

from tenfold.energy.config import DenoisingConfig
from tenfold.energy.molecules.systems import SYSTEMS
from tenfold.energy.options import EnergyDataConfig
from tenfold.energy.worlds.known import known_world
from tenfold.energy.worlds.particles import particle_world
from tenfold.energy.worlds.rows import SampleWorld, image_world
from tenfold.errors import UsageError


def read_world(data: EnergyDataConfig, model: DenoisingConfig) -> SampleWorld:
    """The samples, checked against a model's geometry. Raises UsageError where they do not fit."""
    if data.kind in SYSTEMS:
        world = particle_world(data)
    else:
        world = image_world(data.images) if data.kind == "images" else known_world(data)
    if tuple(world.shape) != model.shape:
        raise UsageError(f"the samples have shape {tuple(world.shape)}, but model.shape is {model.shape}; set it alike")
    if model.classes and world.classes != model.classes:
        raise UsageError(f"the data have {world.classes} classes, but model.classes is {model.classes}; set it alike")
    return world
