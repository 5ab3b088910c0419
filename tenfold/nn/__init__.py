"""Blocks that several systems share: attention with a static key-value cache, and the transformer layer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "CausalAttention": "tenfold.nn.attention",
    "FeedForward": "tenfold.nn.transformer",
    "KeyValueCache": "tenfold.nn.attention",
    "LayerConfig": "tenfold.nn.config",
    "LayerNorm": "tenfold.nn.norm",
    "RMSNorm": "tenfold.nn.norm",
    "TransformerLayer": "tenfold.nn.transformer",
}
__all__ = ["CausalAttention", "FeedForward", "KeyValueCache", "LayerConfig", "LayerNorm", "RMSNorm", "TransformerLayer"]

if TYPE_CHECKING:
    from tenfold.nn.attention import CausalAttention, KeyValueCache
    from tenfold.nn.config import LayerConfig
    from tenfold.nn.norm import LayerNorm, RMSNorm
    from tenfold.nn.transformer import FeedForward, TransformerLayer


def __getattr__(name: str) -> Any:
    # Lazy: configurations import ``tenfold.nn.config`` without PyTorch.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tenfold.nn' has no attribute {name!r}")
