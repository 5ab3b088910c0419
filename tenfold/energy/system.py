"""Energies, and the denoisers that they are distilled from. Imports no PyTorch."""

from tenfold import energy
from tenfold.energy import recipes
from tenfold.energy.options import EnergySampling, EnergyScoring
from tenfold.energy.results import JOBS
from tenfold.runs.system import Example, System

_PAPER = "arXiv:2502.12786"

SYSTEMS = (
    System(
        name="energy",
        title="Distilled energy diffusion with Feynman-Kac SMC",
        paper=_PAPER,
        state="works; some results are not measured yet",
        task=lambda: energy.EnergyTask,
        model=lambda: energy.EnergyModel,
        published=lambda: energy.read_published,
        options={"sample": EnergySampling, "score": EnergyScoring},
        examples={
            "energy-weights": Example(
                "analyse",
                "exact and continuous weights, and control, on compositions whose integrals are known",
                lambda: energy.energy_weights,
            ),
            "energy-rare-event": Example(
                "analyse",
                "the probability of a half-space under a mixture, by steered particles and by counting",
                lambda: energy.energy_rare_event,
            ),
            "energy-heads": Example(
                "analyse",
                "heads, starts and losses of energies on the digits, against one teacher",
                lambda: energy.energy_heads,
            ),
        },
        recipes=recipes.RECIPES,
        plain=recipes.EnergyRecipe(),
        jobs=JOBS,
        benchmarks=("energy", "energy_training"),
    ),
    System(
        name="energy-denoiser",
        title="The denoisers that energies are distilled from",
        paper="arXiv:2206.00364",
        state="a part of energy",
        part_of="energy",
        task=lambda: energy.DenoisingTask,
        model=lambda: energy.DenoisingModel,
        options={"sample": EnergySampling},
        recipes=recipes.DENOISING_RECIPES,
        plain=recipes.DenoisingRecipe(),
    ),
)
