"""Images from a latent flow: noise to latents by the flow, latents to images by a decoder."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.data.captions.aspect import ratio_value, size_of
from tenfold.errors import UsageError
from tenfold.flows.block import Condition
from tenfold.flows.density import denoise
from tenfold.flows.guidance import Guidance
from tenfold.flows.sampling import draw_samples
from tenfold.flows.solvers.choice import Solver
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.solvers.plan import SEQUENTIAL
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.border import as_tensor
from tenfold.starflow.autoencoder.latents import decode_all
from tenfold.starflow.model import StarFlow
from tenfold.text.encoder import TextEncoder

How = Literal["auto", "plain", "denoise"]
Given = Condition | int | str | list[Any] | None
"""Labels (n,), one label, one text or n texts, text vectors (n, tokens, dim), a context, or nothing."""


@dataclass
class ImageGenerator:
    """A latent flow with what surrounds it.

    Attributes:
        flow: the density of noisy latents.
        autoencoder: the autoencoder of these latents.
        decoder: a decoder that was taught to remove the noise, if there is one.
        sigma: the noise of the flow's training.
        text_encoder: for flows with text.
    """

    flow: StarFlow
    autoencoder: Autoencoder
    decoder: Autoencoder | None = None
    sigma: float = 0.3
    text_encoder: TextEncoder | None = None

    def draw(
        self,
        n: int,
        condition: Given = None,
        *,
        ratio: str = "",
        size: tuple[int, int] | None = None,
        decoder: How = "auto",
        guidance: Guidance | None = None,
        solver: Solver = SEQUENTIAL,
        noise: Float[Tensor, "n t d"] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "n c h w"], SamplingInfo]:
        """n images, clipped to [−1, 1], and the record of the work.

        Args:
            condition: see ``Given``.
            ratio: aspect ratio width:height, of ``tenfold.data.captions.aspect``; "" for the shape of training.
            size: (height, width) of the latents instead.
            decoder: see ``decode``.
            guidance, solver, noise, generator: see ``tenfold.flows.sampling.draw_samples``.

        Raises UsageError for an unknown aspect ratio, a text for a flow without, and what the sampler refuses."""
        flow = self.shaped(ratio) if size is None else self.flow.at(*size)
        given = self.encoded(n, condition)
        latents, info = draw_samples(flow, n, given, guidance=guidance, solver=solver, noise=noise, generator=generator)
        return self.decode(latents, given, decoder), info

    def shaped(self, ratio: str) -> StarFlow:
        """The flow for latents of an aspect ratio, with the area of training."""
        if not ratio:
            return self.flow
        ratio_value(ratio)
        side = round(self.flow.config.extent * self.flow.config.patch)
        return self.flow.at(*size_of(ratio, side, self.flow.config.patch))

    def encoded(self, n: int, condition: Given) -> Condition | None:
        """A condition of n rows as the flow takes it: texts become vectors.

        Raises UsageError for texts where the flow takes none, and for another number of texts than n."""
        if isinstance(condition, int | np.integer):
            return torch.full((n,), int(condition), device=self.flow.var.device)
        if isinstance(condition, list) and not all(isinstance(text, str) for text in condition):
            return as_tensor(condition, "the condition", self.flow.precision).to(self.flow.var.device)
        if not isinstance(condition, str | list):
            return condition
        if not self.flow.config.text_tokens or self.text_encoder is None:
            raise UsageError("this flow takes no text; leave the caption out")
        texts = [condition] if isinstance(condition, str) else condition
        if len(texts) not in (1, n):
            raise UsageError(f"{len(texts)} texts were given for {n} images; give one, or one each")
        return self.text_encoder.encode(texts).to(self.flow.var.device).expand(n, -1, -1)

    def decode(
        self, latents: Float[Tensor, "b l i j"], condition: Condition | None = None, how: How = "auto"
    ) -> Float[Tensor, "b c h w"]:
        """Images on [−1, 1] of noisy scaled latents.

        ``how``: "auto", by the decoder that removes noise if there is one, else as "denoise"; "plain", by the
        autoencoder's decoder, noise and all; "denoise", by it after one step along the flow's score."""
        if how == "auto" and self.decoder is not None:
            return decode_all(self.decoder, latents)
        if how in ("auto", "denoise") and self.sigma > 0:
            latents = denoise(self.flow, latents, self.sigma, condition)
        return decode_all(self.autoencoder, latents)
