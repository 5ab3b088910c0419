"""What a masked position would become, and how sure the model is (arXiv 2506.20639, 2.5; LLaDA, arXiv 2502.09992); and
the random numbers of a generation, drawn or given.

All numbers are of the filtered, tempered distribution, as published: this is why temperature changes the order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical, gumbel_argmax
from tenfold.errors import UsageError
from tenfold.masked_lm.model import require_finite_logits
from tenfold.training.streams import Draws, key_of


class Uniforms:
    """U[0, 1) float64 numbers of every pass, keyed by (seed, purpose, block, pass in the block, row, position): none
    depends on the neighbours of its row, on padding, or on passes that take place for other rows.

    ``keys`` (B,) tell the rows apart, ``places`` (B, N) count the real tokens of each from 0, None for 0 … N − 1.
    ``reveals`` are given numbers of the choice of positions (alg "origin") instead, ``tokens`` those of the proposals,
    a flat vector for each step, over the positions that need one in row-major order."""

    def __init__(
        self,
        seed: int,
        keys: Int[Tensor, " B"],
        places: Int[Tensor, "B N"] | None = None,
        reveals: Sequence[Tensor] | None = None,
        tokens: Sequence[Tensor] | None = None,
    ) -> None:
        self._seed, self._keys, self._places = seed, keys, places
        self._given = {"reveals": reveals, "tokens": tokens}
        self.block = self.step = 0

    def all(self, purpose: str, shape: torch.Size) -> Float[Tensor, "B N"]:
        """A number for each position."""
        draws = Draws(self._seed, self.step)
        drawn = draws.uniform(f"{purpose} {self.block}", self._keys, (shape[1],), torch.float64)
        return drawn if self._places is None else drawn.gather(1, self._places)

    def at(self, kind: str, step: int, where: Bool[Tensor, "B N"]) -> Float[Tensor, " R"]:
        """Numbers of the positions ``where`` that choose positions (kind "reveals") or tokens ("tokens")."""
        given = self._given[kind]
        if given is None:
            return self.all(kind, where.shape)[where]
        count = int(where.sum())
        if step >= len(given) or given[step].shape != (count,):
            have = "none" if step >= len(given) else f"shape {tuple(given[step].shape)}"
            raise UsageError(f"step {step} needs {count} given {kind} numbers, one a masked position; there are {have}")
        return given[step].to(where.device)


def row_keys(
    tokens: Int[Tensor, "B N"], real: Tensor | None = None, samples: Sequence[int] | None = None
) -> Int[Tensor, " B"]:
    """What a row's draws are keyed by: its own tokens, without padding, and its number among the ``samples`` of these
    tokens, by default counted in the batch. So a row alone draws what it does among others, wherever it stands."""
    keys, seen = [], Counter[bytes]()
    for number, row in enumerate(tokens.tolist()):
        kept = row if real is None else [t for t, keep in zip(row, real[number].tolist(), strict=True) if keep]
        content = ",".join(map(str, kept)).encode()
        keys.append(key_of(content, seen[content] if samples is None else samples[number]) & (2**63 - 1))
        seen[content] += 1
    return torch.tensor(keys, dtype=torch.int64, device=tokens.device)


@dataclass(frozen=True)
class Proposals:
    """One row a masked position.

    ``tokens`` (R,) are the proposed ids, ``confidence`` (R,) ranks the positions (larger is surer), ``probability``
    (R,) is the proposed token's, ``entropy`` (R,) is in nats; it is None where nobody asked for it."""

    tokens: Int[Tensor, " R"]
    confidence: Float[Tensor, " R"]
    probability: Float[Tensor, " R"]
    entropy: Float[Tensor, " R"] | None = None


def filtered(
    logits: Float[Tensor, "R K"], temperature: float = 0.0, top_p: float | None = None, top_k: int | None = None
) -> Float[Tensor, "R K"]:
    """Logits over temperature (where above 0), then with the dropped tokens at the dtype's minimum: first what comes
    after the token that carries the cumulative probability over ``top_p``, then what is below the ``top_k``-th logit
    (ties stay)."""
    lowest = torch.finfo(logits.dtype).min
    if temperature > 0:
        logits = logits / temperature
    if top_p is not None and top_p < 1:
        ordered, index = torch.sort(logits, descending=True)
        cumulative = torch.cumsum(ordered.softmax(dim=-1), dim=-1)
        dropped = torch.zeros_like(index, dtype=torch.bool)
        dropped[..., 1:] = cumulative[..., :-1] > top_p
        logits = logits.masked_fill(dropped.scatter(-1, index, dropped), lowest)
    if top_k is not None:
        least = torch.topk(logits, min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, lowest)
    return logits


def nucleus(
    logits: Float[Tensor, "R K"], temperature: float, top_p: float, top_k: int | None = None, size: int = 256
) -> tuple[Float[Tensor, "R M"], Int[Tensor, "R M"], Bool[Tensor, " R"]]:
    """The same for the ``size`` largest logits alone, in descending order: (logits, ids, whether the row's nucleus is
    among them). A peaked row needs no sort of its whole vocabulary."""
    lowest = torch.finfo(logits.dtype).min
    if temperature > 0:
        logits = logits / temperature
    total = logits.logsumexp(dim=-1, keepdim=True)
    size = min(size, logits.shape[-1])
    values, ids = torch.topk(logits, size)
    cumulative = (values - total).exp().cumsum(dim=-1)
    covered = cumulative[:, -1] > top_p
    if size == logits.shape[-1]:
        covered = torch.ones_like(covered)
    dropped = torch.zeros_like(ids, dtype=torch.bool)
    dropped[:, 1:] = cumulative[:, :-1] > top_p
    values = values.masked_fill(dropped, lowest)
    if top_k is not None:
        values = values.masked_fill(values < values[:, min(top_k, size) - 1, None], lowest)
    return values, ids, covered


def propose(
    logits: Float[Tensor, "R K"],
    alg: str = "maskgit_plus",
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    uniforms: Float[Tensor, " R"] | None = None,
    entropy: bool = False,
    size: int = 256,
) -> Proposals:
    """Proposal and confidence of every row, from one pass over the logits.

    Args:
        alg: "maskgit_plus": probability of the proposal; "topk_margin": p_(1) − p_(2); "entropy": Σ p log p (nats).
            The published sum is Σ p log(p + 1e-10): it differs by less than 1e-10 · K. "origin" ranks nothing, its
            confidence is the probability.
        uniforms: float64 in [0, 1), one a row: the token is drawn by inverting the distribution function; without
            them, or at temperature 0, it is the most likely one.
        entropy: fill in ``Proposals.entropy`` whatever ``alg``.
        size: with ``top_p``, the largest logits that are looked at first; rows whose nucleus is larger are sorted.
    """
    ids = None
    if top_p is not None and top_p < 1:
        values, ids, covered = nucleus(logits, temperature, top_p, top_k, size)
        if not bool(covered.all()):
            # Rows of both kinds, put together again.
            joined: dict[str, Tensor] = {}
            rest = (alg, temperature, top_p, top_k)
            numbers = [None if uniforms is None else uniforms[rows] for rows in (covered, ~covered)]
            ours = propose(logits[covered], *rest, numbers[0], entropy, size)
            others = propose(logits[~covered], *rest, numbers[1], entropy, logits.shape[-1])
            for name, part in vars(others).items():
                if part is not None:
                    whole = torch.empty(covered.shape, dtype=part.dtype, device=part.device)
                    whole[covered], whole[~covered] = getattr(ours, name), part
                    joined[name] = whole
            return Proposals(**joined)
        logits = values
    else:
        logits = filtered(logits, temperature, None, top_k)
    best = logits.max(dim=-1)
    shifted = logits - best.values[:, None]
    weights = shifted.exp()
    total = weights.sum(dim=-1)
    if temperature > 0 and uniforms is not None:
        tokens = categorical(weights, uniforms)
        probability = weights.gather(-1, tokens[:, None]).squeeze(-1) / total
    else:
        tokens, probability = best.indices, 1 / total
    if ids is not None:
        tokens = ids.gather(-1, tokens[:, None]).squeeze(-1)
    nats = None
    if entropy or alg == "entropy":
        # H = log Σ e^l − Σ p l. Dropped tokens have weight 0, but a product with their logit may be −inf · 0.
        products = weights * shifted.clamp(min=-1e4)
        nats = total.log() - products.sum(dim=-1) / total
    if alg == "topk_margin":
        top = torch.topk(weights, min(2, weights.shape[-1]), dim=-1).values / total[:, None]
        confidence = top[:, 0] - top[:, -1]
    elif alg == "entropy":
        assert nats is not None
        confidence = -nats
    else:
        confidence = probability
    return Proposals(tokens, confidence, probability, nats)


@dataclass(frozen=True)
class Proposer:
    """How a pass's logits become proposals: the options of ``propose``, and a token that is ``never`` proposed."""

    alg: str = "maskgit_plus"
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    never: int | None = None
    entropy: bool = False

    def __call__(self, logits: Float[Tensor, "R K"], step: int, numbers: Float[Tensor, " R"] | None) -> Proposals:
        """Proposals of the pass ``step``, from U[0, 1) ``numbers``, without which they are the most likely tokens.

        Raises UsageError, with the step's number, where the logits are NaN or infinite."""
        if logits.element_size() < 4:  # sums over a vocabulary need more digits
            logits = logits.float()
        if self.never is not None:
            logits = logits.index_fill(-1, torch.tensor([self.never], device=logits.device), -torch.inf)
        found = propose(logits, self.alg, self.temperature, self.top_p, self.top_k, numbers, entropy=self.entropy)
        require_finite_logits(found.probability, f" in step {step}")
        return found


def gumbel_proposals(logits: Float[Tensor, "R K"], temperature: float, uniforms: Float[Tensor, "R K"]) -> Proposals:
    """LLaDA's form: the token is argmax of exp(l) / (−log u)^T in float64, its confidence the untempered softmax at
    it."""
    tokens = gumbel_argmax(logits, uniforms, temperature)
    probability = logits.softmax(dim=-1).gather(-1, tokens[:, None]).squeeze(-1)
    return Proposals(tokens, probability, probability)
