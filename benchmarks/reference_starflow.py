"""The published STARFlow samplers, written anew for comparison, with the costs of the published program.

What is kept of the published design (arXiv 2506.06276 and its repository): a preallocated key-value cache that holds
keys *before* their rotation, so that every step turns all cached keys anew; a new attention mask for every call that
follows a prefix; casts to float32 around norms and the sampling arithmetic; both guidance branches in one doubled
batch from the start of a block; no inference mode. The blockwise Jacobi sampler sweeps segments of 16 tokens until the
relative mean square change falls below a threshold, and leaves in the cache what the last sweep read. Weights come from
a ``tenfold`` flow with textbook layers. ``tests/benchmarks`` holds it to the recorded outputs of the published program.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tenfold.nn.rotary import grid_angles, raster
from tenfold.starflow.block import SOFTPLUS_ONE, StarFlowBlock
from tenfold.starflow.model import StarFlow


class Cache:
    """Keys (before rotation) and values of every layer of one block."""

    def __init__(self, layers: int, rows: int, heads: int, length: int, size: int) -> None:
        self.store = [torch.zeros(2, rows, heads, length, size) for _ in range(layers)]
        self.filled = [0] * layers

    def add(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write behind what is there; all keys and values up to then."""
        start, end = self.filled[layer], self.filled[layer] + keys.shape[2]
        self.store[layer][0][:, :, start:end] = keys
        self.store[layer][1][:, :, start:end] = values
        self.filled[layer] = end
        return self.store[layer][0][:, :, :end], self.store[layer][1][:, :, :end]

    def back(self, count: int) -> None:
        """Forget the last ``count`` tokens."""
        self.filled = [n - count for n in self.filled]


class ReferenceStarFlow:
    """The samplers of the published program on the weights of ``flow``."""

    def __init__(self, flow: StarFlow) -> None:
        self.flow, self.config = flow, flow.config
        self.calls = self.tokens = 0

    def angles(self, block: StarFlowBlock, text: int) -> Tensor:
        """Angles of text and image tokens, each repeated for its pair."""
        config, size = self.config, block.layer.head_size
        rows, columns = (part.float() for part in raster(*config.grid, config.extent))
        if not config.prefix:
            return grid_angles(rows, columns, None, size).repeat_interleave(2, dim=1)
        third = torch.cat([torch.arange(text) / max(text, 1) * config.extent, torch.zeros_like(rows)])
        zeros = torch.zeros(text)
        places = torch.cat([zeros, rows]), torch.cat([zeros, columns])
        return grid_angles(*places, third, size).repeat_interleave(2, dim=1)

    def network(self, block: StarFlowBlock, h: Tensor, angles: Tensor, cache: Cache) -> Tensor:
        """All layers on new tokens behind the cached ones."""
        self.calls += 1
        self.tokens += h.shape[0] * h.shape[1]
        for number, layer in enumerate(block.layers):
            part = layer.attention
            rows, new, width = h.shape
            packed = part.qkv(F.layer_norm(h, (width,), part.norm.weight, part.norm.bias))
            q, k, v = (t.view(rows, new, part.heads, part.head_size).transpose(1, 2) for t in packed.chunk(3, dim=-1))
            k, v = cache.add(number, k, v)
            q, k = _rotated(q, angles[k.shape[2] - new : k.shape[2]]), _rotated(k, angles[: k.shape[2]])
            mask = None
            if new < k.shape[2]:
                mask = torch.ones(new, k.shape[2], dtype=torch.bool).tril(k.shape[2] - new)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            h = h + part.proj(out.transpose(1, 2).reshape(rows, new, width))
            normed = F.layer_norm(h, (width,), layer.mlp.norm.weight, layer.mlp.norm.bias)
            h = h + layer.mlp.down(F.gelu(layer.mlp.up(normed)))
        return h

    def parameters(self, block: StarFlowBlock, h: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Scale and shift of the tokens, guided where ``weight`` is above 0."""
        if block.final_norm is not None:
            normed = h.float() * torch.rsqrt(h.float().pow(2).mean(-1, keepdim=True) + block.final_norm.eps)
            h = normed * (1 + block.final_norm.weight)
        out = block.proj_out(h)
        if self.config.soft_clip:
            out = self.config.soft_clip * torch.tanh(out / self.config.soft_clip)
        scale, shift = out.float().chunk(2, dim=-1)
        scale = F.softplus(scale + SOFTPLUS_ONE) if self.config.scale == "softplus" else scale.exp()
        if weight > 0:
            (s_c, s_u), (m_c, m_u) = scale.chunk(2), shift.chunk(2)
            ratio = (s_c / s_u).clip(max=1.0).square()
            mean = ((1 + weight) * m_c - (weight * ratio) * m_u) / (1 + weight - weight * ratio)
            spread = s_c / (1 + weight - weight * ratio).sqrt()
            return torch.cat([spread, spread]), torch.cat([mean, mean])
        return scale, shift

    def sample(
        self,
        noise: Tensor,
        text: Tensor | None = None,
        null: Tensor | None = None,
        guidance: float = 0.0,
        jacobi: bool = False,
        threshold: float = 1e-3,
        segment: int = 16,
        most: int = 32,
    ) -> Tensor:
        """Noise (b, T, D) to latents (b, C, h, w), guided in the deep block only: token by token, or by blockwise
        Jacobi sweeps."""
        x = noise
        with torch.no_grad():
            for number in reversed(range(self.config.blocks)):
                block = self.flow.blocks[number]
                assert isinstance(block, StarFlowBlock)
                weight = guidance if block.conditional else 0.0
                given = None
                if block.conditional and text is not None:
                    given = torch.cat([text, null]) if weight and null is not None else text
                x = self.block(block, x, given, weight, jacobi, threshold, segment, most)
        return self.flow.unpatchify(x)

    def block(
        self,
        block: StarFlowBlock,
        x: Tensor,
        text: Tensor | None,
        weight: float,
        jacobi: bool,
        threshold: float,
        segment: int,
        most: int,
    ) -> Tensor:
        """The inverse of one block, in image order."""
        z = x.flip(1) if block.reverse else x.clone()
        z = torch.cat([z, z]) if weight else z
        length = 0 if text is None else text.shape[1]
        angles = self.angles(block, length)
        layer = block.layer
        cache = Cache(len(block.layers), len(z), layer.key_heads, len(angles), layer.head_size)
        if text is not None:
            assert block.text_in is not None
            self.network(block, block.text_in(text), angles, cache)
        solve = self.jacobi if jacobi else self.sequential
        u = solve(block, z, angles, cache, weight, threshold, segment, most)
        u = u.chunk(2)[0] if weight else u
        return u.flip(1) if block.reverse else u

    def sequential(
        self, block: StarFlowBlock, z: Tensor, angles: Tensor, cache: Cache, weight: float, *_: float
    ) -> Tensor:
        """Token by token."""
        u, first = z.clone(), block.first_output
        for t in range(block.steps):
            slot = block.start.expand(len(z), -1, -1) if not first and t == 0 else u[:, t - 1 + first : t + first]
            h = self.network(block, block.proj_in(slot), angles, cache)
            scale, shift = self.parameters(block, h, weight)
            u[:, t + first] = z[:, t + first] * scale[:, 0] + shift[:, 0]
        return u

    def jacobi(
        self,
        block: StarFlowBlock,
        z: Tensor,
        angles: Tensor,
        cache: Cache,
        weight: float,
        threshold: float,
        segment: int,
        most: int,
    ) -> Tensor:
        """Segment by segment, each swept until it hardly changes."""
        assert block.start is not None
        chain = torch.cat([block.start.expand(len(z), -1, -1), z], dim=1)
        for start in range(0, z.shape[1], segment):
            end = min(start + segment, z.shape[1])
            for number in range(most):
                h = self.network(block, block.proj_in(chain[:, start:end]), angles, cache)
                scale, shift = self.parameters(block, h, weight)
                new = shift + scale * z[:, start:end]
                change = ((new - chain[:, start + 1 : end + 1]) ** 2).mean() / (new**2).mean()
                chain[:, start + 1 : end + 1] = new
                if change < threshold or number == most - 1:
                    break
                cache.back(end - start)
        return chain[:, 1:]


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * angles.cos() + torch.stack([-second, first], dim=-1).flatten(-2) * angles.sin()
