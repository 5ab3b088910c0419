"""A masked language model as what scores texts token by token."""

from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.masked_lm.completion.complete import opening, tokenizer_of
from tenfold.masked_lm.loss import causal_attention
from tenfold.masked_lm.model import MaskedLM
from tenfold.text.language_model import LanguageModel
from tenfold.text.rows import MaskedRows, WholeRows


def reader_of(
    model: MaskedLM, order: str | None = None, name: str = "masked-lm", *, autoregressive: bool = False
) -> LanguageModel:
    """The model as a ``LanguageModel``: log p of each token given those before it in the order, all others hidden. They
    are the chain of one order, whose mean over orders the bounds of ``mdm_nll`` bound from below.

    Args:
        model: with a tokenizer.
        order: "l2r", or "r2l", which a network of masks reads as well; None for "l2r".
        name: in reports.
        autoregressive: for weights that were trained from left to right, under a causal mask.

    Raises UsageError for a model without a tokenizer, and an order in which it was not trained."""
    encode, begin = tokenizer_of(model).encode, opening(model)[0]
    model = model.eval()
    if autoregressive:
        if order == "r2l":
            raise UsageError(f"{name} was trained from left to right, so it does not read right to left; leave it out")

        def after(inputs: Int[Tensor, "b m"]) -> Float[Tensor, "b m k"]:
            hidden = model.hidden(inputs, causal_attention(inputs.shape[1], inputs.device))
            return model.logits(hidden).float().log_softmax(-1)

        return WholeRows(
            after, encode, begin=(begin,), stop=model.special.eos, longest=model.max_positions, name=name,
            device=model.device, batch=8,
        )  # fmt: skip

    def hidden_at(texts: Int[Tensor, "b n"], places: Int[Tensor, " b"]) -> Float[Tensor, "b k"]:
        rows = model.hidden(texts)
        at = model.predictor(places)[:, None, None].expand(-1, 1, rows.shape[-1])
        return model.logits(rows.gather(1, at)[:, 0]).float().log_softmax(-1)

    return MaskedRows(
        hidden_at, encode, mask=model.special.mask, order=order or "l2r", begin=begin,
        longest=model.max_positions, name=name, device=model.device, batch=8, drop_begin=not model.logit_shift,
    )  # fmt: skip
