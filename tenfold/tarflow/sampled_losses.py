"""A flow's likelihood of levels as a function of its dequantisation noise."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.flows.evaluation import image_log_probs
from tenfold.flows.loss import dequantise
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.tarflow.model import TarFlow


def sampled_losses(flow: TarFlow, pixels: Tensor, levels: int) -> list[SampledLoss]:
    """−log2 p per dimension, averaged over the images ``pixels`` (b, c, h, w) uint8, which share the noise."""
    dims = pixels[0].numel()

    def loss(noise: Any) -> Any:
        values = []
        for row in torch.from_numpy(noise).to(torch.float32):
            x = dequantise(pixels, levels, row.reshape(pixels.shape[1:]).expand(pixels.shape))
            values.append(float(-image_log_probs(flow, x).mean()) / dims / np.log(2.0))
        return np.array(values)

    return [SampledLoss(f"flow, dequantisation ({dims} dim)", dims, loss, 16, 4, 100)]
