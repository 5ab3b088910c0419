"""The order in which masks are revealed: how near to left-to-right it is, and where the model is sure (DiffuCoder,
arXiv 2506.20639, section 4 and appendix A).

An order is p_1 … p_T, the positions inside the completion (from 0) as they were revealed, one a step.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.decoding.generation import Generation
from tenfold.masked_lm.model import as_tensor
from tenfold.settings.values import read

MATCHES = ("sequence", "set")
BOUNDARIES = ("valid", "prompt", "paper")
TIES = ("confidence", "left-to-right")


def local_ar(order: Sequence[int], k: int = 1, match: str = "sequence", boundary: str = "valid") -> float:
    """Local AR-ness@k: share of the steps t at which the k tokens revealed before are the k left neighbours of p_t.

    Args:
        match: "sequence": p_{t−i} = p_t − i for each i ≤ k (the caption of the figure); "set": as sets, in any order
            (the formula of the appendix).
        boundary: steps t ≤ k have less than k predecessors: "valid" leaves them out (left-to-right scores exactly 1),
            "prompt" counts the positions −1, −2, … as revealed just before, "paper" counts such steps as misses.

    >>> local_ar([0, 1, 2, 3]), local_ar([0, 1, 2, 3], 2, boundary="paper"), local_ar([3, 2, 1, 0])
    (1.0, 0.5, 0.0)

    Raises UsageError for an order that is no permutation, k outside 1 … T − 1, and unknown conventions."""
    places = _checked(order, k, len(order) - (boundary == "valid"))
    for value, choices, name in ((match, MATCHES, "match"), (boundary, BOUNDARIES, "boundary")):
        if value not in choices:
            raise UsageError(f"{name} is {value!r}{suggest(value, choices)}")
    before = np.arange(-k, 0) if boundary == "prompt" else np.empty(0, dtype=np.int64)
    extended = np.concatenate([before, places])
    if len(extended) <= k:
        return 0.0
    history = np.lib.stride_tricks.sliding_window_view(extended, k + 1)
    previous, now = history[:, :-1][:, ::-1], history[:, -1:]
    neighbours = now - np.arange(1, k + 1)
    if match == "set":
        previous, neighbours = np.sort(previous, axis=1), np.sort(neighbours, axis=1)
    hits = int((previous == neighbours).all(axis=1).sum())
    return hits / (len(places) - k if boundary == "valid" else len(places))


def global_ar(order: Sequence[int], k: int = 1) -> float:
    """Global AR-ness@k: share of the steps at which p_t is one of the k leftmost masks.

    >>> global_ar([0, 1, 2, 3]), global_ar([3, 2, 1, 0], 2)
    (1.0, 0.5)
    """
    places = _checked(order, k, len(order))
    # Masks left of p_t at step t: positions left of it that come later in the order.
    later = np.arange(len(places))[None] > np.arange(len(places))[:, None]
    left = ((places[None] < places[:, None]) & later).sum(axis=1)
    return int((left < k).sum()) / len(places)


def _checked(order: Sequence[int], k: int, most: int) -> np.ndarray:
    places, k = np.asarray(order), read(int, k, "k")
    if places.ndim != 1 or (len(places) and places.dtype.kind not in "iu"):
        raise UsageError(f"the order is {places.dtype} of shape {places.shape}; give a list of whole numbers")
    places = places.astype(np.int64)
    if not len(places) or not np.array_equal(np.sort(places), np.arange(len(places))):
        raise UsageError(f"the order is no permutation of 0 … {len(places) - 1}; give each position once, from 0")
    if not 1 <= k <= max(1, most):
        raise UsageError(f"k is {k}; {len(places)} tokens allow 1 to {max(1, most)}")
    return places


def orders(found: Generation, ties: str = "confidence") -> list[list[int]]:
    """The order of each row of a generation, over the positions that a pass revealed, counted from 0 without gaps.

    Several of one pass are ordered by decreasing confidence, or from left to right."""
    return orders_of_steps(found.order, found.confidence, ties)


def orders_of_steps(steps: object, confidence: object = None, ties: str = "confidence") -> list[list[int]]:
    """The same of step numbers (B, N), −1 where nothing was revealed, and confidences (B, N)."""
    steps = as_tensor(steps, "the steps")
    confidence = None if confidence is None else as_tensor(confidence, "the confidence")
    if ties not in TIES:
        raise UsageError(f"ties is {ties!r}{suggest(ties, TIES)}")
    if ties == "confidence" and confidence is None:
        raise UsageError("ties 'confidence' needs the confidences; give them, or set ties to 'left-to-right'")
    result = []
    for row in range(len(steps)):
        places = (steps[row] >= 0).nonzero().squeeze(1).tolist()
        sure = [0.0] * steps.shape[1] if confidence is None or ties != "confidence" else confidence[row].tolist()
        key = [(int(steps[row, p]), -sure[p], i) for i, p in enumerate(places)]
        result.append([i for *_, i in sorted(key)])
    return result


def steps_of_history(history: Sequence[Tensor], first: Tensor, mask: int) -> Tensor:
    """Step at which each mask of ``first`` (B, N) was revealed for good, by differencing the sequences after each step
    (B, N); −1 for tokens that were given or never revealed."""
    masked = torch.stack([first == mask, *(x == mask for x in history)])
    # The last step after which a position was still masked is the one before its reveal.
    count = len(history)
    index = torch.arange(count + 1)[:, None, None]
    last = torch.where(masked, index, -1).amax(dim=0)
    return torch.where((last >= 0) & (last < count), last, -1)


def tokens_per_pass(found: Generation) -> float:
    """Mean number of tokens of a row that a pass revealed."""
    revealed = (found.order >= 0).sum().item()
    return revealed / len(found.order) / max(1, found.nfe)


def summary(found: Sequence[Sequence[int]], local: int = 9, whole: int = 4, **conventions: str) -> dict[str, list]:
    """Mean and standard error over rows of local@1 … and global@1 …, as far as the orders are long enough."""
    shortest = min(len(order) for order in found)
    near = [[local_ar(o, k, **conventions) for o in found] for k in range(1, min(local, shortest - 1) + 1)]
    left = [[global_ar(o, k) for o in found] for k in range(1, min(whole, shortest) + 1)]
    return {"local": list(map(mean_and_error, near)), "global": list(map(mean_and_error, left))}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (NaN for one value)."""
    array = np.asarray(values, dtype=np.float64)
    error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else math.nan
    return float(array.mean()), float(error)


class EntropyMap:
    """Collects how sure the model is of every new position in every pass: a logits hook for ``diffusion_generate``.

    ``values()`` is (steps, L): the mean over rows of the negative entropy (nats) at positions that are still masked,
    NaN where none is."""

    def __init__(self, mask: int, start: int) -> None:
        self.mask, self.start = mask, start
        self._rows: list[Tensor] = []

    def __call__(self, step: int, x: Tensor, logits: Tensor) -> Tensor:
        """Look, and hand back the logits as they are."""
        logp = logits[:, self.start :].float().log_softmax(dim=-1)
        sure = (logp.exp() * logp.clamp(min=-1e4)).sum(dim=-1)
        open_ = x[:, self.start :] == self.mask
        self._rows.append(torch.where(open_, sure, torch.nan).nanmean(dim=0))
        return logits

    def values(self) -> np.ndarray:
        """(steps, L) float32."""
        return torch.stack(self._rows).cpu().numpy()


def sink_score(confidence: np.ndarray | Sequence[float]) -> float:
    """How much surer the model is right behind the prompt, in the first pass over a fully masked completion: mean
    confidence of the first tenth of the positions minus that of the rest.

    ``confidence`` (L,) or (steps, L), of which the first row counts. Raises UsageError for less than two positions."""
    try:
        array = np.asarray(confidence, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("the confidences are no array of numbers; give (L,) or (steps, L)") from None
    first = array[0] if array.ndim == 2 else array
    if len(first) < 2:
        raise UsageError(f"a sink score needs at least two positions; there are {len(first)}")
    cut = max(1, len(first) // 10)
    if np.isnan(first[:cut]).all() or np.isnan(first[cut:]).all() or np.isinf(first).any():
        raise UsageError("the confidences of the first pass are NaN or infinite where they are compared")
    return float(np.nanmean(first[:cut]) - np.nanmean(first[cut:]))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased estimate 1 − C(n − c, k) / C(n, k) of the chance that one of k samples is correct.

    >>> pass_at_k(10, 5, 1), pass_at_k(5, 0, 5), pass_at_k(2, 1, 2)
    (0.5, 0.0, 1.0)
    """
    samples, correct, k = (read(int, n, name) for name, n in (("samples", samples), ("correct", correct), ("k", k)))
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise UsageError(f"pass@{k} of {correct} correct among {samples} samples is not defined; 1 ≤ k ≤ samples")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)
