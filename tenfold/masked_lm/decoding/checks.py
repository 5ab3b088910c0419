"""What generation refuses before any work."""

from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.model import MaskedLM


def check_inputs(
    model: MaskedLM, tokens: Tensor, attention_mask: Tensor | None, options: GenerationOptions
) -> Tensor | None:
    """The padding mask (B, P), None where nothing is padded.

    Raises UsageError for tokens and masks that do not fit the model or each other."""
    if tokens.ndim != 2 or tokens.dtype.is_floating_point or tokens.dtype.is_complex:
        raise UsageError(
            f"the prompt is a {tokens.dtype} tensor of shape {tuple(tokens.shape)}; token ids of shape (batch, length) "
            "are needed"
        )
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= model.vocab_size):
        wrong = int(tokens.min()) if int(tokens.min()) < 0 else int(tokens.max())
        raise UsageError(f"token id {wrong} is outside the model's vocabulary of {model.vocab_size}")
    mask = _check_mask(tokens, attention_mask)
    masked = tokens == model.special.mask
    if options.infill:
        if not masked.any():
            raise UsageError(f"infill needs masks (id {model.special.mask}) in the prompt, and there are none")
        if mask is not None and (masked & ~mask.bool()).any():
            raise UsageError("a mask stands in the padding of a prompt; pad with another token")
        first = masked[:, 0] if mask is None else (masked & (mask.cumsum(dim=1) == 1)).any(dim=1)
        if model.logit_shift and first.any():
            raise UsageError(
                "the first token of a prompt is masked, and a model with logit shift has nothing to predict it from; "
                "put a token before it (bos, or a line break)"
            )
    else:
        if masked.any():
            raise UsageError(
                f"the prompt holds the mask token (id {model.special.mask}); set infill to fill it in, or take it out"
            )
        if model.logit_shift and (tokens.shape[1] == 0 or (mask is not None and not mask.any(dim=1).all())):
            raise UsageError(
                "the prompt is empty, and a model with logit shift predicts each token from the one before; "
                "begin with a token (bos, or a line break)"
            )
    length = tokens.shape[1] + (0 if options.infill else options.max_new_tokens)
    if length > model.max_positions:
        raise UsageError(
            f"prompt and new tokens are {length} together, but the model has {model.max_positions} positions; shorten "
            "the prompt or ask for fewer new tokens"
        )
    for name in options.stop_ids:
        if not 0 <= name < model.vocab_size or name == model.special.mask:
            raise UsageError(f"stop id {name} is no token that can be revealed (vocabulary {model.vocab_size})")
    return mask


def check_schedule(options: GenerationOptions, length: int, most: int) -> tuple[int, int]:
    """(steps, blocks) for a region of ``length`` positions with at most ``most`` masks in a row.

    Raises UsageError where blocks do not divide it."""
    block = options.block_length or length
    if not options.infill and length % block:
        raise UsageError(f"block_length {block} does not divide the {length} new tokens; choose one that does")
    blocks = -(-length // block)
    steps = options.steps or most
    if options.scheduled and options.steps is not None and steps % blocks:
        raise UsageError(
            f"steps {steps} cannot be divided over {blocks} blocks of {block}; choose a multiple of {blocks}, "
            "or leave steps out"
        )
    if options.scheduled and options.steps is not None and steps > most:
        progress.note(f"steps {steps} exceeds the {most} masks: not every pass can reveal a token")
    return steps, blocks


def _check_mask(tokens: Tensor, mask: Tensor | None) -> Tensor | None:
    if mask is None:
        return None
    if tuple(mask.shape) != tuple(tokens.shape):
        raise UsageError(
            f"the attention mask has shape {tuple(mask.shape)}, but the prompt {tuple(tokens.shape)}; give one value "
            "a token, 0 at padding"
        )
    if mask.is_floating_point() or not bool(((mask == 0) | (mask == 1)).all()):
        raise UsageError(f"the attention mask is {mask.dtype} with values besides 0 and 1; give integers or booleans")
    mask = mask.long()
    if tokens.shape[1] and bool((mask[:, 1:] < mask[:, :-1]).any()):
        row = int((mask[:, 1:] < mask[:, :-1]).any(dim=1).nonzero()[0])
        raise UsageError(f"row {row} is padded on the right; pad prompts on the left, so that all end together")
    return None if bool(mask.all()) else mask
