"""Low-rank updates of a masked language model's linear layers (LoRA, arXiv 2106.09685), by ``peft``."""

import copy
from typing import Any

from tenfold.errors import UsageError
from tenfold.masked_lm.model import MaskedLM

_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def add_lora(model: MaskedLM, rank: int, alpha: int, dropout: float) -> Any:
    """Put low-rank updates into the network, in place, and freeze all else;
    returns what ``merged`` needs.

    Raises UsageError where ``peft`` is missing."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise UsageError(
            "low-rank updates need the package peft, which is missing; run: pip install 'tenfold[lm]'"
        ) from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_LAYERS)
    return LoraModel(model.network, {"default": config}, "default")


def merged(model: MaskedLM, updates: Any) -> MaskedLM:
    """A stock model with the updates added to its weights; the given one stays as it is."""
    whole = copy.deepcopy(updates).merge_and_unload()
    return MaskedLM(whole, model.special, model.logit_shift, model.tokenizer)
