"""What a user can set about a masked language model. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError
from tenfold.masked_lm.special import SpecialIds

BYTE_PAD, BYTE_MASK = 256, 257


@dataclass(frozen=True)
class MaskedLMConfig:
    """Geometry of the network; the defaults are a small model of bytes (256 values, padding, mask).

    Attributes:
        family: "qwen2" (biases in the attention, as DiffuCoder's) or "llama" (none).
        vocab_size: K, special tokens included.
        width: of the token vectors.
        layers: number of transformer layers.
        heads: attention heads; must divide ``width``.
        kv_heads: heads of keys and values; must divide ``heads``; 0 for as many as ``heads``.
        intermediate: width of the feed-forward layers.
        positions: the longest sequence.
        rope_theta: base of the rotary positions.
        norm_epsilon: in the root mean square norms.
        tied: whether the head shares the embedding's weights.
        logit_shift: whether the output at position i−1 predicts token i, as in autoregressive models.
        mask: number of the mask token.
        pad: number of the padding token; it also stands between packed texts.
        bos: number of the begin token; none in a model of bytes.
        eos: number of the end token.
        tokenizer: "bytes" (UTF-8), or "files" for the tokenizer saved with the weights.
    """

    family: Literal["qwen2", "llama"] = "qwen2"
    vocab_size: int = 258
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 0
    intermediate: int = 384
    positions: int = 1024
    rope_theta: float = 1e4
    norm_epsilon: float = 1e-6
    tied: bool = False
    logit_shift: bool = True
    mask: int = BYTE_MASK
    pad: int | None = BYTE_PAD
    bos: int | None = None
    eos: int | None = BYTE_PAD
    tokenizer: Literal["bytes", "files"] = "bytes"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "intermediate", "positions"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise UsageError(
                f"model.width {self.width} over {self.heads} heads is no even whole number (rotary positions turn "
                "pairs of coordinates); change width or heads"
            )
        if self.kv_heads < 0 or (self.kv_heads and self.heads % self.kv_heads):
            raise UsageError(f"model.kv_heads is {self.kv_heads}; it must divide the {self.heads} heads, or be 0")
        if self.tokenizer == "bytes" and self.vocab_size < 258:
            raise UsageError(
                f"model.vocab_size is {self.vocab_size}; a model of bytes needs 256, padding and mask: 258"
            )
        SpecialIds(self.mask, self.pad, self.bos, self.eos).check(self.vocab_size)
