"""The published sampler's call, for programs that were written against it."""

from typing import Any

import torch
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.decoding.options import REFERENCE
from tenfold.masked_lm.decoding.sampling import LogitsHook, TokensHook, diffusion_generate
from tenfold.masked_lm.decoding.state import Generation
from tenfold.masked_lm.model import MaskedLM


def published_generate(
    model: MaskedLM,
    inputs: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int,
    steps: int = 512,
    eps: float = 1e-3,
    alg: str = "origin",
    alg_temp: float | None = None,
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    num_return_sequences: int = 1,
    output_history: bool = False,
    return_dict: bool = False,
    return_dict_in_generate: bool = False,
    mask_token_id: int | None = None,
    generation_tokens_hook_func: TokensHook | None = None,
    generation_logits_hook_func: LogitsHook | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> Generation | Tensor:
    """``diffusion_generate`` under the names, defaults and rules of Dream's and DiffuCoder's files: the published
    schedule with its batch mean, and the mask token as a legal proposal.

    Returns the sequences, or with either ``return_dict`` the ``Generation``. ``max_new_tokens`` must be given (the
    published default of 20 tokens in all is a trap); ``mask_token_id`` must be the model's.

    Raises UsageError for another mask token, unknown options, and what ``diffusion_generate`` refuses."""
    if mask_token_id is not None and mask_token_id != model.special.mask:
        raise UsageError(
            f"mask_token_id is {mask_token_id}, but the model's mask is {model.special.mask}; leave it out"
        )
    for name in options:
        raise UsageError(f"the published sampler has no option {name!r}{suggest(name, _NAMES)}")
    found = diffusion_generate(
        model,
        inputs,
        attention_mask,
        generator=generator,
        output_history=output_history,
        generation_tokens_hook_func=generation_tokens_hook_func,
        generation_logits_hook_func=generation_logits_hook_func,
        max_new_tokens=max_new_tokens,
        steps=steps,
        eps=eps,
        alg=alg,
        alg_temp=alg_temp,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        num_return_sequences=num_return_sequences,
        **REFERENCE,
    )
    return found if return_dict or return_dict_in_generate else found.sequences


_NAMES = list(published_generate.__annotations__)
