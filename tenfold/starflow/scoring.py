"""Log-likelihoods of a user's images under a latent flow: what ``tenfold score`` prints."""

import torch

from tenfold.data.images.inputs import Inputs
from tenfold.flows.evaluation import mean_log_probs
from tenfold.flows.loss import to_unit_range
from tenfold.runs.scores import Scores
from tenfold.starflow.autoencoder.latents import CHUNK
from tenfold.starflow.config import StarFlowScoring
from tenfold.starflow.generator import ImageGenerator


@torch.no_grad()
def score(generator: ImageGenerator, inputs: Inputs, levels: int, options: StarFlowScoring, name: str) -> Scores:
    """log p of the noisy scaled latents of every image in nats, summed over dimensions, the mean over draws of the
    training noise; and for each dimension. It is a density of latents, not of pixels: numbers of two autoencoders do
    not compare.

    Raises TenfoldError where log p overflows."""
    flow, array = generator.flow, torch.from_numpy(inputs.array)
    values = to_unit_range(array, levels) if inputs.are_pixels else array.float()
    like = next(generator.autoencoder.parameters())
    latents = torch.cat([generator.autoencoder.encode(part.to(like)).float().cpu() for part in values.split(CHUNK)])
    given = generator.encoded(len(latents), options.text or options.classes)

    def noisy(k: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(1_000_003 * options.seed + k)
        return latents + generator.sigma * torch.randn(latents.shape, generator=random)

    log_p, dimensions = mean_log_probs(flow, inputs.names, options.draws, noisy, given), latents[0].numel()
    columns = {"log_prob": ("nats", log_p.tolist()), "latent_nll": ("nats/dim", (-log_p / dimensions).tolist())}
    note = f"log p of latents with noise {generator.sigma:g}, mean of {options.draws} draws"
    if flow.config.classes and given is None:
        note += f"; p averaged over {flow.config.classes} classes"
    elif flow.config.text_tokens and given is None:
        note += "; given the null text"
    elif given is not None:
        note += f"; given {options.text!r}" if options.text else f"; given class {options.classes}"
    return Scores.ranked(name, inputs.names, columns, note)
