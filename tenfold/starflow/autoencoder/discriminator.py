"""The patch discriminator of adversarial training."""

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.nn.norm import GroupNorm


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches, by a few strided convolutions (Isola et al., "Image-to-image translation
    with conditional adversarial networks", arXiv 1611.07004), with group normalisation: scores of one image do
    not depend on the others of its batch.

    ``layers`` convolutions halve the sides; the first has ``width`` channels, each later one twice as many, at
    most 8 · width.
    """

    def __init__(self, channels: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.factor = 2**layers
        stages: list[nn.Module] = []
        for i in range(layers):
            after = width * min(2**i, 8)
            stage = [nn.Conv2d(channels, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            if i:
                stage.insert(1, GroupNorm(4 if after % 4 == 0 else 1, after))
            stages.append(nn.Sequential(*stage))
            channels = after
        self.stages = nn.ModuleList([*stages, nn.Conv2d(channels, 1, 3, padding=1)])

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 wraps, and activation checkpointing recomputes, one by one."""
        return list(self.stages)

    def require(self, height: int, width: int) -> None:
        """Raise UsageError for images too small to have a patch."""
        if min(height, width) < 2 * self.factor:
            raise UsageError(
                f"images of {height}x{width} are too small for a discriminator that halves them "
                f"{self.factor.bit_length() - 1} times; lower --reconstruction.discriminator_layers"
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 i j"]:
        """Scores of the patches: high for real images."""
        for stage in self.stages:
            x = stage(x)
        return x
