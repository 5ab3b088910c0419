"""Stock causal networks of transformers as language models: what texts share is read once, through the cache."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.settings.values import read
from tenfold.text import networks
from tenfold.text.language_model import ReadingOrder, TokenScores, require_finite_scores, require_rows
from tenfold.text.tokenizer import FileTokenizer, Tokenizer

_LOGITS_AT_ONCE = 2**25  # 128 MiB in float32
_LOGITS_IN_CACHE = 2**19  # of a processor: what is summed there again and again stays near


class CausalReader:
    """A causal network that transformers makes, with its tokenizer: a ``LanguageModel``.

    The stem of a question runs once; its cache is then repeated for the rows, which run together, filled up to one
    length on the right (nothing that counts looks there). ``computed`` counts the tokens that went through the
    network, filling included.

    Args:
        network: a ``...ForCausalLM`` in evaluation mode.
        tokenizer: text to tokens.
        order: the order in which it was trained to read.
        begin: tokens before every text.
        opening: what an empty text is, where ``begin`` is empty.
        stop: the token of the end.
        name: in reports.
        longest: most tokens; None for the network's ``max_position_embeddings``.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        *,
        order: str = "l2r",
        begin: Sequence[int] = (),
        opening: int | None = None,
        stop: int | None = None,
        name: str = "model",
        longest: int | None = None,
    ) -> None:
        self.network: Any = network
        self.tokenizer, self.name, self.begin = tokenizer, name, tuple(begin)
        self.order: ReadingOrder = read(ReadingOrder, order, "order")
        settings: Any = self.network.config
        self.vocabulary = int(settings.vocab_size)
        for token in (*self.begin, opening, stop):
            if token is not None and not 0 <= token < self.vocabulary:
                raise UsageError(
                    f"token {token} is outside of the {self.vocabulary} tokens of {name}; give one of them"
                )
        self.opening, self.stop = opening, stop
        self.longest = longest or int(getattr(settings, "max_position_embeddings", None) or 2**31)
        self.computed = 0

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without begin and end."""
        return self.tokenizer.encode(text)

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Each row's tokens given the stem and those before.

        Raises UsageError for an empty stem, rows without tokens, more tokens than ``longest``, and log-probabilities
        that are not finite."""
        self._check(stem, rows)
        # Rows of like lengths run together, so that little is filled up.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found: list[TokenScores | None] = [None] * len(rows)
        with torch.inference_mode():
            after, cache = self._prefill(stem)
            for some in _batches(order, [len(rows[i]) for i in order], _LOGITS_AT_ONCE // self.vocabulary):
                last = some[-1] == order[-1]
                part = [rows[i] for i in some]
                for i, scores in zip(some, self._batch(part, after, cache, keep=not last), strict=True):
                    found[i] = scores
        return cast(list[TokenScores], found)

    def continued(self, prefixes: Sequence[Sequence[int]]) -> "Continuation":
        """Several prefixes read at once, to be gone on with token by token (see ``Continuation``)."""
        self._check([0], prefixes)
        return Continuation(self, prefixes)

    def next_token(self, rows: Int[np.ndarray, "rows tokens"]) -> Float64[np.ndarray, "rows vocabulary"]:
        """Log-probabilities of the token after each row, in the order in which the model reads."""
        found = np.empty((len(rows), self.vocabulary))
        size = max(1, _LOGITS_AT_ONCE // (self.vocabulary + 64 * rows.shape[1]))
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                part = self._ids(rows[start : start + size].tolist())
                self.computed += part.numel()
                logits = self.network(input_ids=part, use_cache=False, logits_to_keep=1).logits[:, -1]
                found[start : start + size] = _wide(logits).log_softmax(-1).double().cpu().numpy()
        return found

    def _check(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> None:
        require_rows(self.name, self.longest, stem, rows)
        least, most = (pick(pick(row) for row in (stem, *rows)) for pick in (min, max))
        if least < 0 or most >= self.vocabulary:
            raise UsageError(
                f"token {least if least < 0 else most} is outside of the {self.vocabulary} tokens of {self.name}; its "
                "tokenizer is another model's"
            )

    def _ids(self, rows: Sequence[Sequence[int]]) -> Int[Tensor, "b n"]:
        return torch.tensor(rows, dtype=torch.long, device=self.network.device)

    def _prefill(self, stem: Sequence[int]) -> tuple[Float[Tensor, "1 k"], Any]:
        self.computed += len(stem)
        output = self.network(input_ids=self._ids([list(stem)]), use_cache=True, logits_to_keep=1)
        return output.logits[:, -1], output.cache

    def _batch(
        self, rows: Sequence[Sequence[int]], after: Float[Tensor, "1 k"], cache: Any, *, keep: bool
    ) -> list[TokenScores]:
        """Rows that are continued from one cache, which is left as it is where somebody ``keep``s it."""
        sizes = [len(row) for row in rows]
        width = max(sizes)
        targets = self._ids([[*row, *[0] * (width - len(row))] for row in rows])
        found = [_scored(after.expand(len(rows), -1), targets[:, 0])]
        if width > 1:
            grown = copy.deepcopy(cache) if keep else cache
            grown.batch_repeat_interleave(len(rows))
            self.computed += targets[:, 1:].numel()
            counts = torch.tensor(sizes, device=targets.device)
            scored = torch.arange(1, width, device=targets.device) < counts[:, None]
            logits = self._logits(scored, input_ids=targets[:, :-1], cache=grown, use_cache=True)
            found.append(_scored(logits, targets[:, 1:][scored]))
        log_p, greedy = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
        # First tokens stand before all others, which follow row by row.
        ends = len(rows) + np.cumsum([0, *sizes]) - np.arange(len(rows) + 1)
        scores = []
        for i in range(len(rows)):
            places = np.r_[i, ends[i] : ends[i + 1]]
            scores.append(TokenScores(log_p[places].astype(np.float64), greedy[places]))
        require_finite_scores(self.name, scores)
        return scores

    def _logits(self, scored: Bool[Tensor, "b n"], **inputs: Any) -> Float[Tensor, "t k"]:
        """Logits at the places ``scored``, row by row: the vocabulary is projected there alone."""
        head = self.network.get_output_embeddings()
        # What stands behind the head (scales, soft caps) is the network's own, so the head is told what it reads.
        hook = head.register_forward_pre_hook(lambda module, given: (given[0][scored][None],))
        try:
            return cast(Tensor, self.network(**inputs).logits[0])
        finally:
            hook.remove()


class Continuation:
    """Prefixes of a causal network that go on with the same tokens, a few at a time, and of which some may be dropped.

    The prefixes are filled up on the left; nothing looks there.
    """

    def __init__(self, model: CausalReader, prefixes: Sequence[Sequence[int]]) -> None:
        width = max(map(len, prefixes))
        device = model.network.device
        filled = torch.tensor([width - len(prefix) for prefix in prefixes], device=device)
        self.model, self.read = model, [len(prefix) for prefix in prefixes]
        self._mask = (torch.arange(width, device=device) >= filled[:, None]).long()
        self._next = width - filled  # position of the next token of each row
        tokens = model._ids([[*[0] * (width - len(prefix)), *prefix] for prefix in prefixes])
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        model.computed += tokens.numel()
        with torch.inference_mode():
            output = model.network(
                input_ids=tokens, attention_mask=self._mask, position_ids=positions, use_cache=True, logits_to_keep=1
            )
        self._after, self._cache = output.logits[:, -1], output.cache

    def __len__(self) -> int:
        return len(self.read)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, by their places among those that are left."""
        if len(rows) == len(self):
            return
        chosen = torch.tensor(list(rows), dtype=torch.long, device=self._mask.device)
        with torch.inference_mode():
            self._cache.batch_select_indices(chosen)
            self._mask, self._next, self._after = self._mask[chosen], self._next[chosen], self._after[chosen]
        self.read = [self.read[i] for i in rows]

    def fork(self, rows: Sequence[int]) -> "Continuation":
        """These rows by themselves, to go on with apart from the others, which stay as they are."""
        other = copy.copy(self)
        other._cache = copy.deepcopy(self._cache)
        other.keep(rows)
        return other

    def advance(self, tokens: Sequence[int]) -> Float64[np.ndarray, "rows tokens"]:
        """log p of these tokens in every row that is left, given all that it has read; they are read then.

        Raises UsageError for no tokens, and for more than the model reads."""
        model, before = self.model, self._after
        given = model._ids([list(tokens)] * len(self))
        logits = self._read(given)
        with torch.inference_mode():
            after = torch.cat([before[:, None], logits[:, :-1]], 1)
            log_p, _ = _scored(after.flatten(0, 1), given.flatten())
        found = log_p.view(given.shape).double().cpu().numpy()
        if not np.isfinite(found).all():
            raise UsageError(f"{model.name} gives log-probabilities that are not finite; its weights are damaged")
        return found

    def next_log_p(self) -> Float64[np.ndarray, "rows vocabulary"]:
        """Log-probabilities of the token after each row that is left."""
        with torch.inference_mode():
            return np.asarray(_wide(self._after).log_softmax(-1).double().cpu().numpy())

    def follow(self, tokens: Int[np.ndarray, " rows"]) -> None:
        """Read one token of its own in every row that is left.

        Raises UsageError for another number of tokens than rows, and for more than the model reads."""
        if len(tokens) != len(self):
            raise UsageError(f"{len(tokens)} tokens are given for {len(self)} rows; give one for each")
        self._read(self.model._ids([[int(token)] for token in tokens]))

    def _read(self, given: Int[Tensor, "rows n"]) -> Float[Tensor, "rows n k"]:
        """The logits after each of these tokens."""
        model, count = self.model, given.shape[1]
        if not count or max(self.read) + count > model.longest:
            raise UsageError(
                f"{count} tokens after {max(self.read)} cannot be read; give at least one, and at most {model.longest} "
                "in all"
            )
        model.computed += given.numel()
        with torch.inference_mode():
            self._mask = torch.cat([self._mask, torch.ones_like(given)], 1)
            positions = self._next[:, None] + torch.arange(count, device=given.device)
            logits: Tensor = model.network(
                input_ids=given,
                attention_mask=self._mask,
                position_ids=positions,
                cache=self._cache,
                use_cache=True,
            ).logits
            self._next, self._after = self._next + count, logits[:, -1]
        self.read = [size + count for size in self.read]
        return logits


def _batches(order: list[int], sizes: list[int], most: int) -> Iterator[list[int]]:
    """Rows in the order of their rising ``sizes``, cut into batches of at most so many tokens, filling included."""
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * sizes[end] > most:
            yield order[start:end]
            start = end


def _wide(logits: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _scored(logits: Float[Tensor, "t k"], targets: Int[Tensor, " t"]) -> tuple[Float[Tensor, " t"], Bool[Tensor, " t"]]:
    """log p of the targets, and whether each is the likeliest token (the first of equals)."""
    rows = len(targets) if logits.is_cuda else max(1, _LOGITS_IN_CACHE // logits.shape[-1])
    found = [_scored_piece(_wide(a), b) for a, b in zip(logits.split(rows), targets.split(rows), strict=True)]
    log_p, greedy = zip(*found, strict=True)
    return torch.cat(log_p), torch.cat(greedy)


def _scored_piece(
    logits: Float[Tensor, "t k"], targets: Int[Tensor, " t"]
) -> tuple[Float[Tensor, " t"], Bool[Tensor, " t"]]:
    top, at = logits.amax(-1), logits.gather(-1, targets[:, None])[:, 0]
    log_p = at - top - (logits - top[:, None]).exp_().sum(-1).log()
    greedy = at == top
    equal = greedy.nonzero()[:, 0]  # argmax is slow, and asked only of these
    greedy[equal] = logits[equal].argmax(-1) == targets[equal]
    return log_p, greedy


def open_causal(
    source: str, order: str = "l2r", device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> CausalReader:
    """A stock causal model with its tokenizer: a packaged name ("smollm2"), a folder or ``.gguf`` file, a hub id.

    BOS stands before texts where the tokenizer puts it there by itself, and before every text of a model that reads
    right to left. Raises UsageError for what is no causal model of transformers, or has no tokenizer."""
    found = networks.find(source, what="language model")
    inner, network = networks.load_causal(found)
    bos, eos = inner.bos_token_id, inner.eos_token_id
    # A tokenizer that adds BOS does so before any text.
    adds = bos is not None and inner("a")["input_ids"][:1] == [bos]
    return CausalReader(
        network.eval().requires_grad_(False).to(device, dtype),
        FileTokenizer(inner),
        order=order,
        begin=(bos,) if adds or (order == "r2l" and bos is not None) else (),
        opening=bos if bos is not None else eos,
        stop=eos,
        name=source,
    )
