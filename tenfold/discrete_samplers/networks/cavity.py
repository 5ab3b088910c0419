"""Potentials of spins on a periodic lattice from what surrounds each of them, with all symmetries of the lattice."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.protocol import of_flips, reads_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1))
_CORNERS = ((0, 2), (0, 3), (1, 2), (1, 3))  # pairs of _AROUND that a corner touches
_WAVES = 8


def moved_sites(height: int, width: int, down: int, right: int) -> Int[Tensor, " d"]:
    """The number of the site that lies so far from each."""
    site = torch.arange(height * width).view(height, width)
    return site.roll((-down, -right), (0, 1)).flatten()


def distance_classes(height: int, width: int) -> Int[Tensor, "d d"]:
    """Classes of pairs of sites by their distances down and right around the torus; on a square lattice, by the
    distances in either order. 0 is a site itself, 1 (and 2, on others than squares) its neighbours."""
    site = torch.arange(height * width)
    apart = []
    for place, side in ((site // width, height), (site % width, width)):
        gap = (place[:, None] - place[None]).abs()
        apart.append(torch.minimum(gap, side - gap))
    pair = torch.stack(apart, -1)
    if height == width:
        pair = pair.sort(-1).values
    far = max(height, width)
    keys = pair.square().sum(-1) * far**2 + pair[..., 0] * far + pair[..., 1]
    return keys.unique(return_inverse=True)[1]


class CavityFeatures(nn.Module):
    """What a site is surrounded by, hollow: numbers that change sign with all spins (odd), and numbers that do not.

    Neighbours j of a site i are told by s_j and the sum of the three spins around j that are not s_i; all sites
    further away by channels T_t[s_j n_j] of s_j and the sum n_j around them, with weights by distance; besides, the
    two spins across, and the corners."""

    around: Tensor
    corners: Tensor
    classes: Tensor

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.channels, self.odd, self.even = channels, 6 + channels, 11 + 2 * channels
        around = torch.stack([moved_sites(height, width, *step) for step in _AROUND], -1)
        diagonal = [(_AROUND[a][0] + _AROUND[b][0], _AROUND[a][1] + _AROUND[b][1]) for a, b in _CORNERS]
        corners = torch.stack([moved_sites(height, width, *step) for step in diagonal], -1)
        near = 1 if height == width else 2
        self.register_buffer("around", around, persistent=False)
        self.register_buffer("corners", corners, persistent=False)
        self.register_buffer("classes", (distance_classes(height, width) - near).clamp(min=0), persistent=False)
        self.table = nn.Parameter(torch.randn(5, 2 * channels) / 2)
        count = int(self.classes.max())
        self.weight = nn.Parameter(torch.randn(2, channels, count) / math.sqrt(height * width))

    def forward(
        self, s: Float[Tensor, "b d"], table: Float[Tensor, "b 5 c"]
    ) -> tuple[Float[Tensor, "b d o"], Float[Tensor, "b d e"]]:
        """Odd and even numbers of every site; ``table`` is added to T."""
        beside = s[:, self.around]
        n = beside.sum(-1)
        told = beside * (n[:, self.around] - s[..., None])
        kinds = (told[..., None] == told.new_tensor([-3.0, -1.0, 1.0, 3.0])).to(s)
        near_odd, near_even = (beside[..., None] * kinds).sum(2), kinds.sum(2)
        across = beside[..., 0] * beside[..., 1] + beside[..., 2] * beside[..., 3]
        pairs = torch.stack([beside[..., a] * beside[..., b] for a, b in _CORNERS], -1)
        corner = (s[:, self.corners] * pairs).sum(-1)
        own = ((s * n)[..., None] == s.new_tensor([-4.0, -2.0, 0.0, 2.0, 4.0])).to(s)
        values = own @ (self.table + table)
        far = []
        none = self.weight.new_zeros(2, self.channels, 1)
        weights = torch.cat([none, self.weight], -1)[..., self.classes]
        for sign, part, weight in zip((s[..., None], 1.0), values.split(self.channels, -1), weights, strict=True):
            far.append(torch.einsum("bjc,cij->bic", sign * part, weight))
        odd = torch.cat([0.5 * n[..., None], 0.5 * near_odd, 0.5 * corner[..., None], far[0]], -1)
        even = torch.cat([near_even - 1, across[..., None], odd.square() - 1, far[1]], -1)
        return odd, even


@reads_tokens
class EquivariantCavity(nn.Module):
    """G(flip) = −s_i Σ_k g_k(even, t) odd_k of ``CavityFeatures``: equivariant under translations, reflections and
    quarter turns, and even under the flip of all spins (where ``field`` breaks that, odd numbers choose too).

    Args:
        height, width: of the lattice, at least 3.
        channels: of the sums over sites further away.
        hidden: width of the two layers that choose g.
        field: whether up and down are told apart.

    Raises:
        UsageError: a side below 3, where a neighbour's neighbours are not others.
    """

    states = 2

    @read_arguments
    def __init__(self, height: int, width: int, channels: int = 8, hidden: int = 48, field: bool = False) -> None:
        super().__init__()
        if min(height, width) < 3:
            raise UsageError(f"the lattice is {height} x {width}; this network needs sides of at least 3")
        self.sites, self.states, self.field = height * width, 2, field
        self.features = CavityFeatures(height, width, channels)
        odd, even = self.features.odd, self.features.even
        self.clock = nn.Sequential(nn.Linear(_WAVES, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.table = nn.Linear(hidden, 10 * channels)
        self.inner = nn.Linear(even + odd * field, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, odd + field)
        nn.init.zeros_(self.last.bias)

    def hollow(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d 1"]:
        """n(up) − n(down) of every site, which does not depend on its own spin."""
        dtype = self.last.weight.dtype
        wave = math.pi * torch.arange(_WAVES, device=x.device, dtype=dtype)
        c = self.clock((wave * t.to(dtype)[:, None]).cos())
        odd, even = self.features((2 * x - 1).to(dtype), self.table(c).unflatten(-1, (5, -1)))
        told = torch.cat([even, odd], -1) if self.field else even
        u = nn.functional.silu(self.inner(told) + c[:, None])
        u = u + nn.functional.silu(self.middle(u))
        chosen = self.last(u)
        if self.field:
            odd = torch.cat([odd, torch.ones_like(odd[..., :1])], -1)
        return (chosen * odd).sum(-1, keepdim=True)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d 2"]:
        """G, or differences of potentials."""
        return of_flips((1 - 2 * x) * self.hollow(x, t)[..., 0], x)
