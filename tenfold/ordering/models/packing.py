"""Documents as blocks of tokens, read left to right or right to left.

p(x) = Π_t p(x_t | x_<t) = Π_t p(x_t | x_>t): both are exact factorisations of one joint, so that a causal network
learns the second from reversed token streams; tokens themselves are made in reading order. BOS stays first and EOS last
(arXiv:2502.18435).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int, Int64

from tenfold.errors import UsageError
from tenfold.nn.border import whole
from tenfold.nn.tensors import read_tensors
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read

_LONGEST = 2**31
Order = Literal["l2r", "r2l_document", "r2l_block"]


def reversed_spans(tokens: Int[np.ndarray, " tokens"], ends: Int[np.ndarray, " spans"]) -> Int[np.ndarray, " tokens"]:
    """Every span of the stream back to front; span i ends before ``ends[i]``, the last at the stream's end."""
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    mirror = np.repeat(starts + ends - 1, ends - starts)  # start + end − 1 − position is the mirrored place
    return np.asarray(tokens[mirror - np.arange(len(tokens))])


@read_arguments
@read_tensors()
def pack(
    tokens: Int[np.ndarray, " tokens"],
    lengths: Int[np.ndarray, " documents"],
    *,
    order: str = "r2l_document",
    block: int = 2048,
    bos: int = 1,
    eos: int = 2,
) -> Int64[np.ndarray, "blocks block"]:
    """Blocks of documents, each as [BOS] … [EOS]; what does not fill the last block is left out.

    Args:
        tokens: the documents one after another, in reading order, without BOS and EOS.
        lengths: how many tokens each has.
        order: "l2r"; "r2l_document" reverses each document and then packs, so that every document begins with BOS;
            "r2l_block" packs and then reverses each block, as a flip in a loader does: BOS comes last.

    Raises UsageError for an unknown order, a block below two tokens, and lengths that are not those of the tokens.
    The orders differ where a block's border cuts a document: see arXiv:2502.18435, which leaves the case open."""
    read(Order, order, "order")
    if not 2 <= block <= _LONGEST:
        raise UsageError(f"block is {block}; give 2 to {_LONGEST:,} tokens")
    if (lengths < 0).any() or lengths.sum() != len(tokens):
        raise UsageError(
            f"lengths add up to {int(lengths.sum())}, but there are {len(tokens)} tokens; give each its own"
        )
    ends = np.cumsum(lengths.astype(np.int64))
    if order == "r2l_document":
        tokens = reversed_spans(tokens, ends)
    number = np.arange(len(ends))
    stream = np.empty(len(tokens) + 2 * len(ends), np.int64)
    inner = np.ones(len(stream), bool)
    for places, token in ((ends - lengths + 2 * number, bos), (ends + 2 * number + 1, eos)):
        stream[places], inner[places] = token, False
    stream[inner] = tokens
    packed = stream[: len(stream) // block * block].reshape(-1, block)
    return np.ascontiguousarray(packed[:, ::-1]) if order == "r2l_block" else packed


@read_arguments
def request(
    question: Sequence[int], answer: Sequence[int], *, bos: int, right_to_left: bool = False
) -> tuple[list[int], list[int]]:
    """The context and the target that score an answer given its question, or for a model that reads right to left the
    question given the answer: [BOS] reverse(answer), reverse(question). Both parts come in reading order.

    >>> request([5, 6], [7, 8], bos=1, right_to_left=True)
    ([1, 8, 7], [6, 5])
    """
    question, answer = _tokens(question, "question"), _tokens(answer, "answer")
    if not question or not answer:
        raise UsageError("question or answer has no tokens; both need at least one")
    if right_to_left:
        return [bos, *reversed(answer)], list(reversed(question))
    return [bos, *question], list(answer)


def _tokens(values: Sequence[int], name: str) -> list[int]:
    tokens = whole(values, name)
    if tokens.ndim != 1:
        raise UsageError(f"{name} has shape {tuple(tokens.shape)}; give the tokens of one text")
    return list(map(int, tokens.tolist()))


@read_arguments
def request_of_first(
    question: Sequence[int], answer: Sequence[int], first: int, *, bos: int
) -> tuple[list[int], list[int]]:
    """As ``request`` right to left, with the ``first`` tokens of the question alone as the target: what such a model
    says last, given all the rest (R2L(m) of the study of arithmetic)."""
    context, target = request(question, answer, bos=bos, right_to_left=True)
    if not 1 <= first <= len(target):
        raise UsageError(f"first is {first}; expected 1 to {len(target)} tokens of the question")
    return context + target[:-first], target[-first:]
