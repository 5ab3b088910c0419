"""An autoregressive teacher: ratios of log p(x) = Σ_j log p(x^j | x^{<j}), exact, on its best candidates, or to first
order; with the prefix read once, and its work counted."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.discrete_diffusion.targets.protocol import top_candidates
from tenfold.errors import UsageError


@runtime_checkable
class LeftToRight(Protocol):
    """A model that reads from left to right, as the teacher uses it."""

    vocabulary: int

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Any:
        """Move its tensors."""

    def read(self, tokens: Tensor) -> tuple[Tensor, Any]:
        """log p(· | x^{<j}) for every place j of (b, n), as (b, n, V), and what is kept of the prefixes."""

    def continued(self, state: Any, rows: Tensor, start: int, tokens: Tensor) -> Tensor:
        """Σ_{j > start} log p(x^j | x^{<j}), (r,), where x is the row ``rows`` of ``state`` up to place ``start``,
        and ``tokens`` (r, n − start) from there on."""

    def soft(self, one_hot: Tensor) -> Tensor:
        """``read`` of one-hot rows (b, n, V), differentiable, without the state."""


@dataclass
class Work:
    """What a teacher did: forward ``calls``, and ``tokens`` that went through it (a backward pass counts double)."""

    calls: int = 0
    tokens: int = 0


class ARTeacher:
    """log p_T(x with y at i) − log p_T(x) of an autoregressive model.

    Args:
        model: the teacher.
        method: "exact": all suffixes of the candidates are read. "first_order": the next-token term is exact, what a
            token does to later ones is read off one gradient with respect to the one-hot tokens.
        batch: suffixes read together.

    ``candidates`` gives the top-K ones; ``work`` counts. Of a sequence of n tokens at all n sites with K candidates
    each, n K (n − 1)/2 tokens are read, and n more for the prefix.
    """

    def __init__(
        self, model: LeftToRight, method: Literal["exact", "first_order"] = "exact", batch: int = 1024
    ) -> None:
        if method not in ("exact", "first_order"):
            raise UsageError(f"method is {method!r}; a teacher's ratios are 'exact' or 'first_order'")
        self.model, self.method, self.batch, self.work = model, method, batch, Work()
        self._last: tuple[Tensor, Tensor, Any] | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "ARTeacher":
        """Move the model."""
        self.model.to(device, dtype)
        return self

    def _read(self, clean: Tensor) -> tuple[Tensor, Any]:
        """The prefixes of a batch, read once for its candidates and its ratios."""
        last = self._last
        if last is None or last[0].device != clean.device or not torch.equal(last[0], clean):
            log_p, state = self.model.read(clean)
            self._count(1, clean.numel())
            last = self._last = (clean.clone(), log_p, state)
        return last[1], last[2]

    def _count(self, calls: int, tokens: int) -> None:
        self.work.calls += calls
        self.work.tokens += tokens

    @torch.no_grad()
    def candidates(self, clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"], count: int) -> Int[Tensor, "b m k"]:
        """The current token and the ``count`` best of p(y | x^{<i})."""
        return top_candidates(self._read(clean)[0], clean, sites, count)

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``.

        Raises UsageError for tokens beyond the teacher's vocabulary."""
        if int(max(clean.max(), candidates.max())) >= self.model.vocabulary:
            raise UsageError(
                f"the student has the token {int(max(clean.max(), candidates.max()))}, but the teacher's vocabulary "
                f"ends at {self.model.vocabulary - 1}; teacher and student must share one vocabulary"
            )
        if self.method == "first_order":
            return self._first_order(clean, sites, candidates)
        with torch.no_grad():
            return self._exact(clean, sites, candidates)

    def _next_token(self, log_p: Tensor, clean: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        rows = torch.arange(len(clean), device=clean.device)[:, None]
        at_sites = log_p[rows, sites]
        return at_sites.gather(-1, candidates) - at_sites.gather(-1, clean.gather(1, sites)[..., None])

    def _exact(self, clean: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        log_p, state = self._read(clean)
        ratio = self._next_token(log_p, clean, sites, candidates)
        each = log_p.gather(-1, clean[..., None])[..., 0]
        # Σ_{j > i}: what the sequence itself has behind each site.
        behind = each.flip(1).cumsum(1).flip(1) - each
        row, column, which = (candidates != clean.gather(1, sites)[..., None]).nonzero(as_tuple=True)
        place, n = sites[row, column], clean.shape[1]
        # One pass a place, as all its suffixes begin there.
        for start in place.unique().tolist():
            if start == n - 1:
                continue
            here = (place == start).nonzero()[:, 0]
            for part in here.split(self.batch):
                r, c, k = row[part], column[part], which[part]
                suffix = torch.cat([candidates[r, c, k][:, None], clean[r, start + 1 :]], 1)
                later = self.model.continued(state, r, start, suffix)
                # The last token is predicted, but not read.
                self._count(1, len(part) * (n - 1 - start))
                ratio[r, c, k] += (later - behind[r, start]).to(ratio)
        return ratio

    def _first_order(self, clean: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        with torch.no_grad():
            dtype = self._read(clean)[0].dtype
        self._count(1, 2 * clean.numel())
        with torch.enable_grad():
            tokens = F.one_hot(clean, self.model.vocabulary).to(dtype).requires_grad_()
            log_p = self.model.soft(tokens)
            (slope,) = torch.autograd.grad(log_p.gather(-1, clean[..., None]).sum(), tokens)
        return self._next_token(log_p.detach(), clean, sites, candidates) + self._next_token(
            slope, clean, sites, candidates
        )


class CausalLanguageModel:
    """A causal language model of transformers as a teacher of some of its tokens.

    Args:
        model: the network.
        kept: its ids of the tokens 0 … V − 1 that the student knows; its probabilities are restricted to them.
        begin: id that goes before every sequence. Without it the first token is given, as nothing predicts it: its
            ratio has no next-token term.
    """

    def __init__(self, model: Any, kept: Int[Tensor, " v"], begin: int | None = None) -> None:
        self.model, self.kept, self.begin = model.eval(), kept, begin
        self.vocabulary = len(kept)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "CausalLanguageModel":
        """Move the network."""
        self.model.to(device, dtype)
        self.kept = self.kept.to(device)
        return self

    def _log_probs(self, logits: Float[Tensor, "b k a"]) -> Float[Tensor, "b k v"]:
        return logits[..., self.kept].log_softmax(-1)

    def _shifted(self, logits: Float[Tensor, "b k a"], n: int) -> Float[Tensor, "b n v"]:
        log_p = self._log_probs(logits)
        if self.begin is not None:
            return log_p[:, :n]
        return torch.cat([torch.zeros_like(log_p[:, :1]), log_p[:, : n - 1]], 1)

    def read(self, tokens: Tensor) -> tuple[Tensor, Any]:
        """See ``LeftToRight``; the state is the model's key-value cache."""
        given = self.kept[tokens]
        if self.begin is not None:
            given = torch.cat([torch.full_like(given[:, :1], self.begin), given], 1)
        found = self.model(input_ids=given, use_cache=True)
        return self._shifted(found.logits, tokens.shape[1]), found.past_key_values

    def continued(self, state: Any, rows: Tensor, start: int, tokens: Tensor) -> Tensor:
        """See ``LeftToRight``."""
        from transformers import DynamicCache

        past = start + (self.begin is not None)
        prefix = [(layer.keys[rows, :, :past], layer.values[rows, :, :past]) for layer in state.layers]
        cache = DynamicCache(prefix) if past else None
        found = self.model(input_ids=self.kept[tokens[:, :-1]], cache=cache, use_cache=cache is not None)
        return self._log_probs(found.logits).gather(-1, tokens[:, 1:, None])[..., 0].sum(1)

    def soft(self, one_hot: Tensor) -> Tensor:
        """See ``LeftToRight``."""
        table = self.model.get_input_embeddings().weight
        embedded = one_hot.to(table.dtype) @ table[self.kept]
        if self.begin is not None:
            embedded = torch.cat([table[self.begin].expand(len(one_hot), 1, -1), embedded], 1)
        return self._shifted(self.model(inputs_embeds=embedded).logits, one_hot.shape[1])
