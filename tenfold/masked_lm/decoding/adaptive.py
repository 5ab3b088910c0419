"""dLLM-Cache (arXiv 2506.06295): every layer keeps keys, values and the outputs of attention and feed-forward; between
refreshes only the response positions whose values moved most are computed anew.

The layers are the stock ones: each runs on the chosen rows, and hooks on its two parts catch what they add.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.caches import CachedPasses, Layout, Where
from tenfold.masked_lm.model import MaskedLM

_KNOWN = ("qwen2", "llama")


class AdaptivePasses(CachedPasses):
    """Passes with a prompt refreshed every ``prompt_refresh``, a response every ``refresh`` passes, and in between the
    ``share`` of response positions with the least similar values.

    ``token_forwards`` is the mean over the layers; the value projections of the response, which choose, are not in
    it."""

    def __init__(
        self, model: MaskedLM, layout: Layout, refresh: int = 8, prompt_refresh: int = 100, share: float = 0.25
    ) -> None:
        super().__init__(model, layout, refresh)
        self.prompt_refresh, self.share = prompt_refresh, share
        kind = self.model.network.config.model_type
        if kind not in _KNOWN:
            raise UsageError(f"the adaptive cache knows layers of {' and '.join(_KNOWN)} models, not of {kind!r}")
        self.added: list[dict[str, Tensor]] = [{} for _ in self.layers]

    def hidden(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The hidden rows, most of them put together from what the layers added earlier."""
        prompt, response = self.nfe % self.prompt_refresh == 0, self.nfe % self.refresh == 0
        body = self.model.network.base_model
        h = body.embed_tokens(x)
        _, positions = self._selected(x, None)
        rotation = body.rotary_emb(h, positions)
        computed = 0
        for number, layer in enumerate(body.layers):
            where = self._where(number, layer, h, prompt, response)
            h = self._layer(number, layer, h, where, rotation)
            computed += x.numel() if where is None else where.numel()
        self.count(round(computed / len(self.layers)))
        return body.norm(h)

    def _where(self, number: int, layer: Any, h: Tensor, prompt: bool, response: bool) -> Tensor | None:
        n, device = h.shape[1], h.device
        if (prompt and response) or not self.added[number]:
            return None
        if response:
            chosen = torch.arange(self.layout.start, n, device=device).expand(len(h), -1)
        else:
            new = layer.self_attn.v_proj(layer.input_layernorm(h[:, self.layout.start :]))
            kept = self.layers[number].both[1][:, :, self.layout.start :].transpose(1, 2).reshape(new.shape)
            # Values that did not move differ by rounding alone, which must not choose: the left one comes first.
            similarity = cosine_similarity(new, kept, dim=-1).mul(1e5).round()
            count = int(self.share * similarity.shape[1])
            chosen = self.layout.start + similarity.argsort(dim=1, stable=True)[:, :count]
        if prompt:
            chosen = torch.cat([torch.arange(self.layout.start, device=device).expand(len(h), -1), chosen], dim=1)
        return chosen

    def _layer(
        self, number: int, layer: Any, h: Tensor, where: Tensor | None, rotation: tuple[Tensor, Tensor]
    ) -> Tensor:
        kept = self.added[number]
        caught: dict[str, Tensor] = {}
        if where is not None and not where.numel():
            return h + kept["attention"] + kept["feed"]
        cos, sin = rotation
        part = h
        if where is not None:
            part = _rows(h, where)
            cos, sin = (_rows(angle.expand(len(h), -1, -1), where) for angle in rotation)
        self.layers[number].where = where
        hooks = [
            layer.self_attn.register_forward_hook(lambda m, i, out: caught.__setitem__("attention", out[0])),
            layer.mlp.register_forward_hook(lambda m, i, out: caught.__setitem__("feed", out)),
        ]
        try:
            layer(
                part,
                attention_mask=self._mask(part.shape[1]),
                position_embeddings=(cos, sin),
                cache=self.cache,
                use_cache=True,
                is_causal=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        for name, value in caught.items():
            if where is None:
                kept[name] = value.clone()
            else:
                kept[name].scatter_(1, where[:, :, None].expand_as(value), value)
        return h + kept["attention"] + kept["feed"]

    def _mask(self, queries: int) -> Tensor | None:
        if self.layout.padding is None:
            return None
        return self.model.pattern(self.layout.padding.bool()[:, None, None, :].expand(-1, 1, queries, -1))

    def chosen(self, x: Int[Tensor, "B N"]) -> Where:
        """Each layer chooses by itself."""
        return None


def _rows(values: Tensor, where: Tensor) -> Tensor:
    return values.gather(1, where[:, :, None].expand(-1, -1, values.shape[-1]))
