"""Log-likelihoods of a user's texts under a masked language model, or the same network read from left to right."""

from collections.abc import Sequence

from torch import Tensor

from tenfold.data.text.texts import NamedText, TextScoring
from tenfold.errors import UsageError
from tenfold.masked_lm.evaluation import device_of
from tenfold.masked_lm.likelihood import autoregressive_nll, mdm_nll
from tenfold.masked_lm.model import MaskedLM
from tenfold.runs.scores import Scores
from tenfold.text.scores import Rows, score_texts


def score(
    model: MaskedLM, texts: Sequence[NamedText], kind: str, options: TextScoring, length: int, name: str
) -> Scores:
    """log p of texts in rows of up to ``length`` tokens; with the shift the first token is given, the token of the
    beginning where there is one.

    Raises UsageError for a model without a tokenizer, and for a text without a token to score."""
    tokenizer, begin = model.tokenizer, model.special.bos
    if tokenizer is None:
        raise UsageError(f"{name} has no tokenizer, so it cannot read texts; convert it with its tokenizer")
    given = int(model.logit_shift)
    prefix = [begin] if given and begin is not None else []

    def encode(text: str) -> list[int]:
        return [*prefix, *tokenizer.encode(text)]

    def likelihood(rows: Tensor) -> Rows:
        rows = rows.to(device_of(model))
        if kind == "autoregressive":
            found = autoregressive_nll(model, rows, batch=options.batch)
        else:
            found = mdm_nll(model, rows, options.draws, seed=options.seed, batch=options.batch)
        return Rows(found.nats, found.standard_error)

    bound = f"log p is at least this: minus the masked-diffusion bound, {options.draws} draws of masks a row"
    note = "log p, exact from left to right" if kind == "autoregressive" else bound
    note += f"; rows of up to {length} tokens, which know nothing of each other"
    note += ", the first token given" if given and not prefix else ""
    return score_texts(texts, encode, tokenizer.sizes, likelihood, length, "byte", name, note, given)
