"""The rooms of the house by folder, one for each of the ten systems; ``system.py`` in each says what it is."""

ROOMS = (
    "tarflow",
    "starflow",
    "text_flows",
    "masked_lm",
    "discrete_diffusion",
    "discrete_samplers",
    "energy",
    "ordering",
    "detection",
    "quasiperiodic",
)
