"""Features of pictures at strides 4, 8, 16 and 32: a small network for small pictures, and ResNet-50."""

from jaxtyping import Float
from torch import Tensor, nn

_GROUP = 8  # channels that are normalised together


class _Block(nn.Module):
    """Two 3 × 3 convolutions around which the input passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = (nn.GroupNorm(width // _GROUP, width) for _ in range(2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


class SmallBackbone(nn.Module):
    """A residual network of one block a stride, the first ``stages`` of them, whose norms know nothing of the batch.

    >>> import torch
    >>> [x.shape[1:] for x in SmallBackbone(8)(torch.zeros(1, 3, 32, 64))]
    [torch.Size([8, 8, 16]), torch.Size([16, 4, 8]), torch.Size([32, 2, 4]), torch.Size([64, 1, 2])]
    """

    def __init__(self, width: int, stages: int = 4) -> None:
        super().__init__()
        self.widths = [width * 2**k for k in range(stages)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.GroupNorm(width // _GROUP, width), nn.ReLU()
        )
        inputs = [width, *self.widths[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, 2, 1, bias=False),
                nn.GroupNorm(after // _GROUP, after),
                nn.ReLU(),
                _Block(after),
            )
            for before, after in zip(inputs, self.widths, strict=True)
        )

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class _Bottleneck(nn.Module):
    """1 × 1, 3 × 3 with the stride, 1 × 1; names as torchvision's."""

    downsample: nn.Sequential | None

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o _ _"]:
        passed = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return (self.bn3(self.conv3(x)) + passed).relu()


class ResNet50(nn.Module):
    """The first ``stages`` of ResNet-50 (arXiv 1512.03385), named as torchvision's, so that its weights load.

    As detectors use it: the statistics of its norms stay as they are, and the stem and the first stage do not learn.
    """

    def __init__(self, stages: int = 4) -> None:
        super().__init__()
        self.widths = [256, 512, 1024, 2048][:stages]
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for k, (blocks, width) in enumerate(list(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True))[:stages]):
            stage = []
            for block in range(blocks):
                stage.append(_Bottleneck(inputs, width, 2 if k and not block else 1))
                inputs = 4 * width
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
        for module in (self.conv1, self.bn1, self.layer1):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "ResNet50":
        """Norms stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        x, found = self.maxpool(self.bn1(self.conv1(x)).relu()), []
        for k in range(len(self.widths)):
            x = getattr(self, f"layer{k + 1}")(x)
            found.append(x)
        return found
