"""leConv, the locally equivariant convolution of LEAPS (arXiv 2502.10843), in the names of its reference.

The features of a site choose the weights with which its raw neighbours are summed, and its own centre tap is 0:
however many layers, row i never sees x_i.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


class MaskedConvolution(nn.Module):
    """A convolution without bias whose centre tap is 0; beyond the lattice there are zeros, as in the reference, whose
    circular padding is not in effect (its outputs say so)."""

    mask: Tensor

    def __init__(self, channels_in: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels_in, kernel, kernel) / kernel)
        mask = torch.ones_like(self.weight)
        mask[..., kernel // 2, kernel // 2] = 0
        self.register_buffer("mask", mask)

    def forward(self, v: Float[Tensor, "b c l w"]) -> Float[Tensor, "b k l w"]:
        """Hollow."""
        return nn.functional.conv2d(v, self.weight * self.mask, padding=self.weight.shape[-1] // 2)


def check_kernels(kernels: Sequence[int], side: int) -> tuple[int, ...]:
    """Raise UsageError for kernels that are even, or wider than the lattice (a site would see itself around it)."""
    for kernel in kernels:
        if kernel % 2 == 0 or not 1 < kernel <= side:
            raise UsageError(f"kernel {kernel} on a lattice of side {side}; give odd ones from 3 up to the side")
    return tuple(kernels)


def windows(v: Float[Tensor, "b c l w"], kernel: int) -> Float[Tensor, "b c kk l w"]:
    """The kernel x kernel neighbours of every site, circularly."""
    half, (b, c, l, w) = kernel // 2, v.shape
    padded = nn.functional.pad(v, (half, half, half, half), mode="circular")
    return nn.functional.unfold(padded, kernel).view(b, c, kernel**2, l, w)


class TimeKernel(nn.Module):
    """What a time adds to the weights of all neighbours."""

    def __init__(self, kernel: int, hidden: int = 64) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, kernel**2),
        )

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b kk"]:
        """One number a place of the kernel."""
        return self.mlp(t[:, None])


class ChosenConvolution(nn.Module):
    """Σ_j κ_j v_j over the neighbours of a site, κ = SiLU(A a + b1) + b2 + (time), of features a of the site; the
    centre's κ is 0."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.A = nn.Parameter(0.2 * torch.rand(channels, kernel**2, channels) / kernel)
        self.b1 = nn.Parameter(0.2 * torch.rand(channels, kernel**2))
        self.b2 = nn.Parameter(0.2 * torch.rand(channels, kernel**2))
        self.mlp = TimeKernel(kernel)

    def forward(
        self, raw: Float[Tensor, "b r l w"], features: Float[Tensor, "b c l w"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c l w"]:
        """Hollow where the features are; raw values have one channel, or as many as the features."""
        chosen = torch.einsum("okc,bclw->boklw", self.A, features)
        kappa = nn.functional.silu(chosen + self.b1[..., None, None]) + self.b2[..., None, None]
        kappa = kappa + self.mlp(t)[:, None, :, None, None]
        neighbours = torch.arange(self.kernel**2, device=raw.device) != self.kernel**2 // 2
        return (kappa * neighbours[:, None, None] * windows(raw, self.kernel)).sum(2)


class TokenEmbedding(nn.Module):
    """Raw values of tokens, by the name of the reference."""

    def __init__(self, states: int, raw: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(states, raw)

    def forward(self, x: Int[Tensor, "b l w"]) -> Float[Tensor, "b r l w"]:
        """Channels before the lattice."""
        return self.embedding(x).permute(0, 3, 1, 2)


class ConvolutionStack(nn.Module):
    """The stages in the reference's names: hollow features (b, c, l, w) of raw values."""

    def __init__(self, raw: int, channels: int, kernels: Sequence[int], states: int) -> None:
        super().__init__()
        self.initial_conv = MaskedConvolution(raw, channels, kernels[0])
        self.convs = nn.ModuleList(ChosenConvolution(channels, kernel) for kernel in kernels[1:])
        shape = (channels,) if raw == 1 else (states, channels)
        self.linear = nn.Parameter(torch.randn(shape) / channels**0.5)
        if raw > 1:
            self.emb = TokenEmbedding(states, raw)

    def forward(self, raw: Float[Tensor, "b r l w"], t: Float[Tensor, " b"]) -> Float[Tensor, "b c l w"]:
        """Features."""
        features = self.initial_conv((1 + t)[:, None, None, None] * raw)
        for stage in self.convs:
            features = stage(raw, nn.functional.silu(features), t)
        return features


@reads_tokens
class EquivariantConvolution(nn.Module):
    """leConv on a periodic lattice: of spins G(flip) = Σ_c w_c H_c (1 + t) s, of more states G = p_τ − p_{x_i} of a
    projection p of H.

    Args:
        height, width: of the lattice.
        states: 2 for spins.
        channels: of the features.
        kernels: odd widths, the first that of the plain convolution.

    Raises:
        UsageError: kernels that are even or wider than the lattice.
    """

    @read_arguments
    def __init__(
        self,
        height: int,
        width: int,
        states: int = 2,
        channels: int = 8,
        kernels: tuple[int, ...] = (3, 5, 7),
    ) -> None:
        super().__init__()
        kernels = check_kernels(kernels, min(height, width))
        self.sites, self.states, self.shape = height * width, states, (height, width)
        raw = 1 if states == 2 else channels
        self.network = ConvolutionStack(raw, channels, kernels, states)

    def raw(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b r l w"]:
        """Spins, or embedded tokens, on the lattice."""
        lattice = x.unflatten(1, self.shape)
        if self.states == 2:
            return (2 * lattice - 1).to(self.network.linear.dtype)[:, None]
        return self.network.emb(lattice)

    def hollow(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d c"]:
        """Features whose row i does not depend on x_i."""
        return self.network(self.raw(x), t.to(self.network.linear.dtype)).flatten(2).transpose(1, 2)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d s"]:
        """G."""
        hollow, linear = self.hollow(x, t), self.network.linear
        if self.states == 2:
            flip = (hollow @ linear) * (1 + t.to(linear.dtype))[:, None] * (2 * x - 1)
            other = torch.stack([x == 1, x == 0], -1)
            return torch.where(other, flip[..., None], 0.0)
        scores = hollow @ linear.T
        return scores - scores.gather(-1, x[..., None])
