"""An autoregressive teacher: ratios of log p(x) = Σ_j log p(x^j | x^{<j}), exact, on its best candidates, or to first
order; with the prefix read once, and its work counted."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold import progress
from tenfold.discrete.masking import categorical
from tenfold.discrete_diffusion.networks.blocks import Layer, own_turns, require_length
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.targets.protocol import site_ratios, top_candidates
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

    def metrics(self) -> dict[str, Tensor]:
        """The two as a step reports them."""
        return {f"teacher_{name}": torch.tensor(float(vars(self)[name])) for name in ("tokens", "calls")}


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
            last = self._last = None  # not two states at once
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

    def _exact(self, clean: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        log_p, state = self._read(clean)
        ratio = site_ratios(log_p, clean, sites, candidates)
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
        now, later = (site_ratios(part, clean, sites, candidates) for part in (log_p.detach(), slope))
        return now + later


class RehearsedTeacher(ARTeacher):
    """A teacher on the meta device, where no place is one more than another: all suffixes begin at the first."""

    def _exact(self, clean: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        _, state = self._read(clean)
        rows = clean.new_zeros(min(self.batch, max(1, len(clean) * candidates.shape[2] // 2)))
        self.model.continued(state, rows, 0, rows[:, None].expand(-1, clean.shape[1]))
        return candidates.double()


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


class Prefix(NamedTuple):
    """Of every layer, what went into it (b, n, d), and the keys and values of its attention (b, h, n, e)."""

    inputs: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]


class NetworkTeacher:
    """``Autoregressive`` as ``ARTeacher`` uses it."""

    def __init__(self, model: Autoregressive) -> None:
        self.model, self.vocabulary = model.eval(), model.config.vocabulary

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "NetworkTeacher":
        """Move the network."""
        self.model.to(device, dtype)
        return self

    def read(self, tokens: Int[Tensor, "b n"]) -> tuple[Float[Tensor, "b n v"], Prefix]:
        """See ``LeftToRight``."""
        start = torch.full_like(tokens[:, :1], self.model.begin)
        given = torch.cat([start, tokens[:, :-1]], 1)
        require_length(given, self.model.config.length)
        hidden, state = self._run(self.model.network.embedding(given), self._empty(len(tokens)), 0)
        return self.model.head(hidden).log_softmax(-1), state

    def continued(self, state: Prefix, rows: Tensor, start: int, tokens: Int[Tensor, "r w"]) -> Float[Tensor, " r"]:
        """See ``LeftToRight``. The token at place j goes in one place later, behind the beginning."""
        past = start + 1
        prefix = Prefix(
            [layer[rows, :past] for layer in state.inputs],
            *([layer[rows, :, :past] for layer in part] for part in (state.keys, state.values)),
        )
        hidden, _ = self._run(self.model.network.embedding(tokens[:, :-1]), prefix, past)
        log_p = self.model.head(hidden).log_softmax(-1)
        return log_p.gather(-1, tokens[:, 1:, None])[..., 0].sum(1)

    def soft(self, one_hot: Float[Tensor, "b n v"]) -> Float[Tensor, "b n v"]:
        """See ``LeftToRight``."""
        table = self.model.network.embedding.weight
        first = table[self.model.begin].expand(len(one_hot), 1, -1)
        x = torch.cat([first, one_hot[:, :-1].to(table.dtype) @ table[: self.vocabulary]], 1)
        return self.model.head(self._run(x, self._empty(len(x)), 0)[0]).log_softmax(-1)

    @torch.no_grad()
    def sample(self, count: int, length: int, seed: int, batch: int = 256) -> Int[Tensor, "count length"]:
        """Sequences of the model, drawn in float64 and token by token behind prefixes that are read once; on the CPU.
        The numbers do not depend on ``batch``."""
        uniforms = torch.rand(count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        table, parts = self.model.network.embedding, []
        with progress.task("drawing from the teacher", count, "rows") as step:
            for numbers in uniforms.to(table.weight.device).split(batch):
                state = self._empty(len(numbers))
                token = torch.full_like(numbers[:, 0], self.model.begin, dtype=torch.long)
                drawn = []
                for place, number in enumerate(numbers.unbind(1)):
                    hidden, state = self._run(table(token[:, None]), state, place)
                    token = categorical(self.model.head(hidden[:, 0]).log_softmax(-1).exp(), number)
                    drawn.append(token)
                parts.append(torch.stack(drawn, 1).cpu())
                step(len(numbers))
        return torch.cat(parts)

    def _empty(self, rows: int) -> Prefix:
        """The state before the first token."""
        config, like = self.model.config, self.model.network.embedding.weight
        inputs = like.new_zeros(rows, 0, config.width)
        seen = like.new_zeros(rows, config.heads, 0, config.width // config.heads)
        return Prefix(*([part] * config.layers for part in (inputs, seen, seen)))

    def _run(self, x: Tensor, prefix: Prefix, past: int) -> tuple[Tensor, Prefix]:
        """Embedded tokens behind ``past`` others, through all layers."""
        network, new = self.model.network, x.shape[1]
        if network.places is not None:
            x, rotary = x + network.places[past : past + new], None
        else:
            rotary = own_turns(past + new, self.model.config, x)[0][:, past:]
        # One new token looks at everything.
        allowed = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past) if new > 1 else None
        state = Prefix([], [], [])
        for layer, before, keys, values in zip(network.layers, *prefix, strict=True):
            assert isinstance(layer, Layer)
            state.inputs.append(torch.cat([before, x], 1))
            if layer.mixing is not None:
                # The convolution reaches back into what went into the layer before.
                x = layer.mixing(torch.cat([before[:, -(self.model.config.local_mixing - 1) :], x], 1))[:, -new:]
            seen = layer.attention_norm(x)
            new_keys, new_values = layer.attention.keys_values(seen, rotary)
            state.keys.append(torch.cat([keys, new_keys], 2))
            state.values.append(torch.cat([values, new_values], 2))
            x = x + layer.attention.look(seen, state.keys[-1], state.values[-1], rotary, allowed)
            x = x + layer.mlp(layer.mlp_norm(x))
        return network.norm(x), state
