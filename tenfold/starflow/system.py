"""What STARFlow and its parts are to the verbs. Imports nothing heavy."""

from dataclasses import replace

from tenfold import nn, starflow
from tenfold.runs.system import System
from tenfold.starflow.autoencoder.recipes import (
    AUTOENCODER_RECIPES,
    DECODER_RECIPES,
    AutoencoderRecipe,
    DecoderRecipe,
)
from tenfold.starflow.config import StarFlowSampling, StarFlowScoring
from tenfold.starflow.recipes import RECIPES, StarFlowRecipe
from tenfold.starflow.results import JOBS

_AUTOENCODER = System(
    name="autoencoder",
    title="Autoencoder of images, in the layout of Stable Diffusion's",
    paper="arXiv:2112.10752",
    state="a part of starflow, whose flow draws the latents",
    part_of="starflow",
    task=lambda: starflow.AutoencoderTask,
    model=lambda: nn.Autoencoder,
)

SYSTEMS = (
    System(
        name="starflow",
        title="STARFlow: deep-shallow latent flow",
        paper="arXiv:2506.06276",
        task=lambda: starflow.StarFlowTask,
        model=lambda: starflow.StarFlow,
        published=lambda: starflow.read_published,
        options={"sample": StarFlowSampling, "score": StarFlowScoring},
        recipes=RECIPES,
        plain=StarFlowRecipe(),
        jobs=JOBS,
        benchmarks=("flows",),
    ),
    replace(
        _AUTOENCODER,
        published=lambda: starflow.read_autoencoder,
        recipes=AUTOENCODER_RECIPES,
        plain=AutoencoderRecipe(),
    ),
    replace(
        _AUTOENCODER,
        name="decoder",
        title="Decoder that removes the noise of latents",
        paper="arXiv:2506.06276",
        recipes=DECODER_RECIPES,
        plain=DecoderRecipe(),
    ),
)
