"""The stock networks of ``transformers``: made of a geometry, read back into one, and their low-rank updates."""

from typing import Any

from torch import nn

from tenfold.errors import UsageError
from tenfold.masked_lm.config import MaskedLMConfig, SpecialIds
from tenfold.text.networks import library
from tenfold.text.tokenizer import ByteTokenizer, Tokenizer

# model_type of config.json: the stock class that has the same tensors. Dream's modelling code is Qwen2's.
FAMILIES = {"Dream": "Qwen2", "qwen2": "Qwen2", "llama": "Llama"}
# Settings that a geometry and a configuration of the library hold alike, under their names.
_SETTINGS = {
    "vocab_size": "vocab_size", "width": "hidden_size", "intermediate": "intermediate_size",
    "layers": "num_hidden_layers", "heads": "num_attention_heads", "positions": "max_position_embeddings",
    "norm_epsilon": "rms_norm_eps", "tied": "tie_word_embeddings", "pad": "pad_token_id", "bos": "bos_token_id",
    "eos": "eos_token_id",
}  # fmt: skip
NEEDS = "masked language models need"
_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def stock_network(config: MaskedLMConfig) -> nn.Module:
    """The network of a geometry, freshly initialised, on the current default device."""
    transformers, name = library(NEEDS), FAMILIES[config.family]
    settings = getattr(transformers, f"{name}Config")(
        **{theirs: getattr(config, ours) for ours, theirs in _SETTINGS.items()},
        num_key_value_heads=config.kv_heads or config.heads,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        is_causal=False,
        attn_implementation="sdpa",
    )
    network: nn.Module = getattr(transformers, f"{name}ForCausalLM")(settings)
    return network


def geometry(settings: Any, special: SpecialIds, logit_shift: bool, tokenizer: Tokenizer | None) -> MaskedLMConfig:
    """The geometry of a configuration of ``transformers``."""
    heads, kv_heads = settings.num_attention_heads, settings.num_key_value_heads
    wide = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    if wide * heads != settings.hidden_size:
        raise UsageError(
            f"the {heads} heads of the network are {wide} wide (head_dim), which is not width {settings.hidden_size} "
            "over them; it can be used, but neither trained nor saved here"
        )
    values = {ours: getattr(settings, theirs) for ours, theirs in _SETTINGS.items()} | vars(special)
    return MaskedLMConfig(
        family=settings.model_type,
        kv_heads=0 if kv_heads == heads else kv_heads,
        rope_theta=float(settings.rope_parameters["rope_theta"]),
        logit_shift=logit_shift,
        tokenizer="bytes" if isinstance(tokenizer, ByteTokenizer) else "files",
        **values,
    )


def add_lora(network: nn.Module, rank: int, alpha: int, dropout: float) -> nn.Module:
    """Put low-rank updates (LoRA, arXiv 2106.09685, by ``peft``) into a network's linear layers, in place, and freeze
    all else; returns what merges them (``merge_and_unload``).

    Raises UsageError where ``peft`` is missing."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise UsageError(
            "low-rank updates need the package peft, which is missing; run: pip install 'tenfold[lm]'"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_LINEAR)
    updates: nn.Module = LoraModel(network, {"default": config}, "default")
    return updates
