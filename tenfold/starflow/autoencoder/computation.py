"""What is trained: a whole autoencoder, or a decoder alone, taught to remove noise, behind a frozen encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.starflow.autoencoder.latents import measured_scale, posterior_moments
from tenfold.starflow.autoencoder.recipes import AutoencoderRecipe, DecoderRecipe
from tenfold.starflow.autoencoder.weights import load_autoencoder

FirstImages = Callable[[int], UInt8[Tensor, "n c h w"]]
"""So many of the first training images."""


class NoisyDecoding(nn.Module):
    """Images to latents, noise on them, and back; only what decodes is trained."""

    def __init__(self, autoencoder: Autoencoder, sigma: float) -> None:
        super().__init__()
        self.autoencoder, self.sigma = autoencoder, sigma
        for name, parameter in autoencoder.named_parameters():
            parameter.requires_grad_(not name.startswith(("encoder.", "quant_conv.")))

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 wraps, and activation checkpointing recomputes, one by one."""
        return self.autoencoder.shard_units

    def forward(self, x: Float[Tensor, "b c h w"], noise: Float[Tensor, "b l i j"]) -> Float[Tensor, "b c h w"]:
        """decode(encode(x) + sigma · noise), with gradients for the decoder alone."""
        with torch.no_grad():
            latents = self.autoencoder.encode(x) + self.sigma * noise
        return self.autoencoder.decode(latents)


class Whole:
    """An autoencoder from scratch: images rebuilt from draws of the posterior, whose distance from N(0, 1) is
    penalised."""

    noise = "posterior"
    """Purpose of the latents' noise."""
    frozen_encoder = False

    def __init__(self, recipe: AutoencoderRecipe) -> None:
        self.recipe, self.sigma = recipe, recipe.evaluation.sigma
        self.kl_weight = recipe.objective.kl_weight

    @property
    def geometry(self) -> AutoencoderConfig:
        """The recipe's."""
        return self.recipe.model

    def begin(self) -> Autoencoder:
        """Random weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return Autoencoder(self.recipe.model)

    def around(self, autoencoder: Autoencoder) -> nn.Module:
        """The module whose forward is the training computation."""
        return autoencoder

    def check(self, autoencoder: Autoencoder, folder: Path | str) -> None:
        """Raise UsageError for trained weights of another geometry, but for the scale of the latents."""
        plain = [replace(config, scale_factor=1.0, shift_factor=0.0) for config in (autoencoder.config, self.geometry)]
        if plain[0] != plain[1]:
            raise UsageError(
                f"{folder} holds an autoencoder with {autoencoder.config}, but this run's is {self.geometry}"
            )

    def finish(self, autoencoder: Autoencoder, first: FirstImages, levels: int) -> dict[str, float]:
        """Set the scale of the latents, as measured on training images; nothing else to note in the model folder."""
        images = first(self.recipe.objective.scale_images)
        autoencoder.config = measured_scale(posterior_moments(autoencoder, images, levels)[0], autoencoder.config)
        return {}

    def baseline(self) -> Autoencoder | None:
        """None."""
        return None


class DecoderAlone:
    """A decoder that maps z + sigma·ε, z the scaled latent of an image, straight to the image: what a flow that
    models noisy latents needs in place of a denoising step (arXiv 2506.06276, section 3)."""

    noise = "latent-noise"
    """Purpose of the latents' noise."""
    frozen_encoder = True
    kl_weight = 0.0

    def __init__(self, recipe: DecoderRecipe) -> None:
        self.recipe, self.sigma = recipe, recipe.evaluation.sigma or recipe.objective.sigma

    @property
    def geometry(self) -> AutoencoderConfig:
        """That of the autoencoder to begin with."""
        return self.begin().config

    def begin(self) -> Autoencoder:
        """The autoencoder to begin with, read anew.

        Raises UsageError where it is not set or not there."""
        if not self.recipe.objective.start:
            raise UsageError(
                "there is no autoencoder to start from; set --objective.start to a run or model folder, or to "
                "published weights"
            )
        return load_autoencoder(self.recipe.objective.start)

    def around(self, autoencoder: Autoencoder) -> nn.Module:
        """The module whose forward is the training computation."""
        return NoisyDecoding(autoencoder, self.recipe.objective.sigma)

    def check(self, autoencoder: Autoencoder, folder: Path | str) -> None:
        """Any geometry will do."""

    def finish(self, autoencoder: Autoencoder, first: FirstImages, levels: int) -> dict[str, float]:
        """The noise that the decoder removes, for the model folder."""
        return {"sigma": self.recipe.objective.sigma}

    def baseline(self) -> Autoencoder | None:
        """The decoder that training began with, unless the recipe leaves it out."""
        if not self.recipe.evaluation.baselines:
            return None
        try:
            return self.begin()
        except UsageError as error:
            raise UsageError(f"{error}; it is the baseline, which --evaluation.baselines false leaves out") from None
