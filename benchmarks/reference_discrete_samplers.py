"""The published algorithms as their reference runs them, re-created: leTF with masks and differences of tokens that are
materialised, G computed anew for every use, Gibbs sampling by rolled float lattices, clusters found in a loop.

``tests/benchmarks/test_discrete_samplers.py`` holds the transformer to the reference's own numbers.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer


class ReferenceTransformer:
    """leTF's forward pass on the weights of ours."""

    def __init__(self, network: EquivariantTransformer) -> None:
        self.w = dict(network.state_dict(keep_vars=True))
        self.blocks = len(network.fwd_blocks)
        self.layers = len(network.fwd_blocks[0].fwd_blocks)
        self.head = self.w["readout.pos_embed"].shape[1]

    def _linear(self, name: str, u: Tensor) -> Tensor:
        return F.linear(u, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def _norm(self, name: str, u: Tensor) -> Tensor:
        return F.layer_norm(u, u.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def _mlp(self, name: str, u: Tensor) -> Tensor:
        u = self._norm(f"{name}.norm", u)
        return self._linear(f"{name}.main.2", F.gelu(self._linear(f"{name}.main.0", u)))

    def _attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2)
        scores = scores.masked_fill(mask == 0, -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def _stream(self, name: str, u: Tensor) -> Tensor:
        for b in range(self.blocks):
            block = f"{name}.{b}"
            z = self._linear(f"{block}.proj_in", u) + self.w[f"{block}.pos_embed"]
            for n in range(self.layers):
                at = f"{block}.fwd_blocks.{n}"
                qkv = self._linear(f"{at}.attention.qkv", self._norm(f"{at}.attention.norm", z))
                q, k, v = qkv.unflatten(-1, (-1, self.head)).transpose(1, 2).chunk(3, 1)
                mixed = self._attention(q * self.head**-0.5, k, v, self.w[f"{block}.causal_attn_mask"])
                z = z + self._linear(f"{at}.attention.proj", mixed)
                z = z + self._mlp(f"{at}.mlp", z)
            u = z + u
        return u

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """G (b, d, S)."""
        w, d = self.w, x.shape[1]
        frequency = torch.exp(-math.log(10000.0) * torch.arange(128) / 128)
        features = torch.cat([(t[:, None] * frequency).cos(), (t[:, None] * frequency).sin()], -1)
        c = self._linear("time_embedder.mlp.2", F.silu(self._linear("time_embedder.mlp.0", features)))[:, None]
        tokens = w["vocab_embedder.embedding"][x]
        left = self._stream("fwd_blocks", torch.cat([c, tokens], 1))[:, :-1]
        right = self._stream("bwd_blocks", torch.cat([c, tokens.flip(1)], 1)).flip(1)[:, 1:]
        query = (left + right) / math.sqrt(2) + c
        both = torch.cat([left + c, right + c], 1)
        q, k = self._norm("readout.norm1", query), self._norm("readout.norm1", both)
        heads = [
            self._linear(f"readout.attn_{name}", u).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for name, u in (("q", q), ("k", k), ("v", k))
        ]
        place = w["readout.pos_embed"]
        site = torch.arange(d)
        mask = torch.cat([site[:, None] >= site, site[:, None] <= site], 1)
        mixed = self._attention(
            (heads[0] + place) * self.head**-0.5, heads[1] + torch.cat([place, place]), heads[2], mask
        )
        h = query + self._linear("readout.attn_out", mixed)
        h = h + self._mlp("readout.mlp", self._norm("readout.norm2", h))
        h = self._norm("output_layer.norm_final", h) + c
        table = w["output_layer.ommega_embedder.embedding"]
        differences = table[None, None] - table[x][:, :, None]  # (b, d, S, h)
        return (differences * h[:, :, None]).sum(-1)


def lattice_ratios(x: Tensor, adjacency: Tensor, t: Tensor) -> Tensor:
    """log p_t ratios of spins to all neighbours, (b, d, 2), for s'Js."""
    s = 2.0 * x - 1
    flip = -4 * s * (s @ adjacency) * t[:, None]
    return torch.stack([torch.where(x == 1, flip, 0.0), torch.where(x == 0, flip, 0.0)], -1)


def stein(g: Tensor, ratios: Tensor, clamp: float | None) -> Tensor:
    """Σ [G]₊ − [−G]₊ e^ratio, its ratio cut in training."""
    ratio = ratios if clamp is None else ratios.clamp(max=clamp)
    return (F.relu(g) - F.relu(-g) * ratio.exp()).sum((1, 2))


def sample_with_weights(
    network: ReferenceTransformer, adjacency: Tensor, num: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Euler steps with left-endpoint weights: G once for the weight and once for the step."""
    d = len(adjacency)
    x, w = torch.randint(2, (num, d)), torch.zeros(num)
    for k in range(steps):
        t = torch.full((num,), k / steps)
        s = 2.0 * x - 1
        change = ((s @ adjacency) * s).sum(1) + d * math.log(2)
        w = w + (change + stein(network(x, t), lattice_ratios(x, adjacency, t), None)) / steps
        move = (F.relu(network(x, t)) / steps).clamp(max=1).scatter(-1, x[..., None], 0)
        stay = (1 - move.sum(-1, keepdim=True)).clamp(min=0)
        x = torch.distributions.Categorical(move.scatter(-1, x[..., None], stay)).sample()
    return x, w


def rolled_gibbs(side: int, beta: float, chains: int, sweeps: int) -> Tensor:
    """Checkerboard heat bath with float lattices that are rolled; spins (chains, side, side)."""
    s = torch.randint(2, (chains, side, side)).float() * 2 - 1
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for _ in range(sweeps):
        for parity in (0, 1):
            field = s.roll(1, 1) + s.roll(-1, 1) + s.roll(1, 2) + s.roll(-1, 2)
            up = torch.rand_like(s) < torch.sigmoid(2 * beta * field)
            s = torch.where((row + column) % 2 == parity, 2.0 * up - 1, s)
    return s


def looped_swendsen_wang(s: Tensor, beta: float, sweeps: int) -> Tensor:
    """One chain after the other, clusters by walking from site to site; spins (chains, side, side)."""
    chains, side, _ = s.shape
    for _ in range(sweeps):
        right = (s == s.roll(-1, 2)) & (torch.rand(s.shape) < 1 - math.exp(-2 * beta))
        down = (s == s.roll(-1, 1)) & (torch.rand(s.shape) < 1 - math.exp(-2 * beta))
        for chain in range(chains):
            r, b = right[chain].tolist(), down[chain].tolist()
            seen = [[False] * side for _ in range(side)]
            for i in range(side):
                for j in range(side):
                    if seen[i][j]:
                        continue
                    spin = 1.0 if torch.rand(()) < 0.5 else -1.0
                    stack = [(i, j)]
                    seen[i][j] = True
                    while stack:
                        a, c = stack.pop()
                        s[chain, a, c] = spin
                        for (e, f), linked in (
                            ((a, (c + 1) % side), r[a][c]),
                            ((a, (c - 1) % side), r[a][(c - 1) % side]),
                            (((a + 1) % side, c), b[a][c]),
                            (((a - 1) % side, c), b[(a - 1) % side][c]),
                        ):
                            if linked and not seen[e][f]:
                                seen[e][f] = True
                                stack.append((e, f))
    return s
