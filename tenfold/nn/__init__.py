"""Blocks that several systems share: attention with a static key-value cache, and the transformer layer."""

from tenfold.nn.attention import CausalAttention, KeyValueCache
from tenfold.nn.norm import LayerNorm
from tenfold.nn.transformer import FeedForward, TransformerLayer

__all__ = ["CausalAttention", "FeedForward", "KeyValueCache", "LayerNorm", "TransformerLayer"]
