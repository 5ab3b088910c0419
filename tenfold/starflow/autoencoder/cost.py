"""What training an autoencoder costs, computed on the meta device: nothing is allocated."""

import torch

from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.nn.cost import traced, training_bytes
from tenfold.training.config import TrainingConfig


def cost(
    config: AutoencoderConfig, data: ImageDataConfig, train: TrainingConfig, frozen_encoder: bool = False
) -> dict[str, int]:
    """Parameters, bytes and floating-point operations of a training step of a global batch; without what a
    discriminator and a perceptual network add.

    FLOPs: a forward pass three times (backward costs twice as much), of the decoder alone where the encoder is
    frozen. Bytes: weights, gradients, two AdamW moments and averaged weights in float32, and the tensors that
    autograd keeps. Raises UsageError for images whose size the settings do not tell."""
    sides = {"digits": (8, 8), "mnist5k": (28, 28)}.get(data.source, (0, 0))
    height, width = (data.height, data.width) if data.height else sides
    if not height:
        raise UsageError("the size of the images is not known before they are read; set --data.height and --data.width")
    latent = config.latent_shape(height, width)
    with torch.device("meta"):
        model = Autoencoder(config)
        x, z = torch.empty(1, config.channels, height, width), torch.empty(1, *latent)
    with torch.no_grad():
        encoding, _ = traced(lambda: model.posterior(x))
    forward, kept = traced((lambda: model.decode(z)) if frozen_encoder else (lambda: model(x, z)))
    trained = [
        p.numel()
        for name, p in model.named_parameters()
        if not (frozen_encoder and name.startswith(("encoder.", "quant_conv.")))
    ]
    parameters, batch = sum(p.numel() for p in model.parameters()), train.batch_size
    activations = kept // (2 if train.precision == "bf16" else 1)
    return {
        "parameters": parameters,
        "trained_parameters": sum(trained),
        "flops_per_step": batch * (3 * forward + (encoding if frozen_encoder else 0)),
        **training_bytes(parameters, sum(trained), activations, batch, train.ema is not None),
        "latent_channels": latent[0],
        "latent_height": latent[1],
        "latent_width": latent[2],
        "batch_size": batch,
    }
