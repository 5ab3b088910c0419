"""Captions to vectors by a frozen text network, and tables of them on disk.

STARFlow (arXiv 2506.06276) reads its captions through FLAN-T5-XL: 128 vectors each, those of padding zeroed.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold import progress
from tenfold.data.captions.captioned import numbered
from tenfold.data.captions.config import TextEncoderConfig
from tenfold.data.tensor_file import TensorFile, read_tensor_file
from tenfold.errors import UsageError
from tenfold.files import disk_errors, sha256
from tenfold.text import networks as text_models


class TextEncoder:
    """A frozen text network: T5-like (its encoder), BERT-like, or a decoder (its last hidden states).

    Texts become the tokens that the network's own tokenizer makes of them, with its begin and end tokens;
    a text without any (the empty one, for most decoders) becomes one begin token, or one end token where there
    is no begin token. Padding is on the right and masked, so that a text's vectors do not depend on
    its batch. The network is loaded when it is first needed.

    >>> encoder = TextEncoder(TextEncoderConfig("minilm", tokens=16))
    >>> encoder.encode(["a small 3 at the top left"]).shape
    torch.Size([1, 16, 384])
    """

    def __init__(self, config: TextEncoderConfig, device: str | torch.device = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self._files = text_models.find(config.source, config.revision)
        self._dim = 0

    def to(self, device: str | torch.device) -> "TextEncoder":
        """Move the network, and what it makes, to a device: now, or when it is loaded."""
        self.device = torch.device(device)
        if "_loaded" in vars(self):
            self._loaded[1].to(self.device)
        return self

    @cached_property
    def fingerprint(self) -> str:
        """Identifies weights, tokenizer, precision and number of tokens; reads the files once."""
        return sha256(self._files.fingerprint, str(self.config.tokens), self.config.dtype)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._dim or self.null().shape[-1])

    def null(self) -> Float[Tensor, "tokens dim"]:
        """The vectors of the empty text: what stands for no caption."""
        return self.encode([""])[0]

    def encode(self, texts: Sequence[object]) -> Float[Tensor, "b tokens dim"]:
        """Vectors of texts, float32 on the encoder's device, zero after each text's last token.

        Raises UsageError for what is no list of strings, and for a text of more tokens than
        ``config.tokens``: nothing is cut off."""
        tokens = self.tokenize(texts)
        result = torch.zeros(0)
        for rows, vectors in self._batches(tokens):
            if not result.numel():
                result = torch.zeros(len(tokens), self.config.tokens, vectors.shape[2], device=self.device)
            result[rows, : vectors.shape[1]] = vectors
        return result if tokens else torch.zeros(0, self.config.tokens, self.dim, device=self.device)

    def tokenize(self, texts: Sequence[object]) -> list[list[int]]:
        """Token numbers of each text, begin and end tokens included; the errors of ``encode``."""
        if isinstance(texts, str):
            raise UsageError(f"the encoder takes a list of texts, not one text ({texts[:40]!r}); put it in a list")
        known = [text for text in texts if isinstance(text, str)]
        if len(known) < len(texts):
            i, text = next((i, text) for i, text in enumerate(texts) if not isinstance(text, str))
            raise UsageError(f"text {i} is {type(text).__name__} ({text!r:.40}), expected a string")
        tokenizer = self._loaded[0]
        if not known:
            return []
        found = tokenizer(known, padding=False, truncation=False, return_attention_mask=False, verbose=False)
        lone = [int(n) for n in (tokenizer.bos_token_id, tokenizer.eos_token_id) if n is not None][:1]
        tokens = [list(map(int, numbers)) or lone for numbers in found["input_ids"]]
        if not all(tokens):
            raise UsageError(
                f"the tokenizer of {self.config.source!r} makes no token of an empty text and has no begin or end token"
            )
        for text, numbers in zip(known, tokens, strict=True):
            if len(numbers) > self.config.tokens:
                raise UsageError(
                    f"text {text[:40]!r} has {len(numbers)} tokens, more than the encoder's {self.config.tokens}; "
                    f"shorten it or set tokens to {len(numbers)}"
                )
        return tokens

    def encode_table(self, texts: Sequence[str], folder: Path | None = None) -> "TextTable":
        """The vectors of a fixed list of texts, each distinct one encoded once.

        With a ``folder`` they are kept there in a file named after the fingerprint of encoder and texts, and
        read from it the next time without loading the network; without one they stay in memory.

        Raises the errors of ``encode``, and TenfoldError for a damaged file."""
        distinct, rows = numbered([*texts, ""])
        fingerprint = sha256(self.fingerprint, *distinct)
        path = None if folder is None else folder / f"captions-{fingerprint[:16]}.safetensors"
        if path is None or not path.is_file():
            arrays = self._encode_distinct(distinct, path, fingerprint)
        if path is not None:
            arrays = read_tensor_file(path)[0]
        return TextTable(arrays["vector"], arrays["start"], rows, self.config.tokens, fingerprint)

    def _encode_distinct(self, texts: Sequence[str], path: Path | None, fingerprint: str) -> dict[str, np.ndarray]:
        tokens = self.tokenize(texts)
        start = np.cumsum([0, *(len(numbers) for numbers in tokens)])
        dim = self.dim
        if path is None:
            arrays = {"vector": np.zeros((start[-1], dim), np.float32), "start": start}
            self._fill(arrays["vector"], tokens, start)
            return arrays
        with disk_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            shapes = {"vector": (np.float32, (int(start[-1]), dim)), "start": (np.int64, start.shape)}
            file = TensorFile(path, shapes, {"fingerprint": fingerprint})
            try:
                file.arrays["start"][:] = start
                self._fill(file.arrays["vector"], tokens, start)
                file.finish()
            except BaseException:
                file.discard()
                raise
        return {}

    def _fill(self, target: np.ndarray, tokens: list[list[int]], start: np.ndarray) -> None:
        with progress.task("encoding captions", len(tokens), "captions") as advance:
            for rows, vectors in self._batches(tokens):
                for i, vector in zip(rows, vectors.cpu().numpy(), strict=True):
                    target[start[i] : start[i + 1]] = vector[: len(tokens[i])]
                advance(len(rows))

    def _batches(self, tokens: list[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Texts by number, those of like length together, with their vectors."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        for first in range(0, len(order), self.config.batch):
            rows = order[first : first + self.config.batch]
            yield rows, self._vectors([tokens[i] for i in rows])

    @torch.no_grad()
    def _vectors(self, tokens: list[list[int]]) -> Float[Tensor, "b length dim"]:
        # float32, as long as the longest of these texts, zero at padding.
        tokenizer, network = self._loaded
        length = max(map(len, tokens))
        padding = next((n for n in (tokenizer.pad_token_id, tokenizer.eos_token_id) if n is not None), 0)
        numbers = torch.tensor([t + [padding] * (length - len(t)) for t in tokens], device=self.device)
        mask = torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in tokens], device=self.device)
        hidden = network(input_ids=numbers, attention_mask=mask).last_hidden_state.float()
        self._dim = hidden.shape[-1]
        return torch.where(mask[:, :, None] > 0, hidden, 0.0)

    @cached_property
    def _loaded(self) -> tuple[Any, nn.Module]:
        tokenizer, network = text_models.load(self._files, self.config)
        return tokenizer, network.to(self.device)


class TextTable:
    """Vectors of a fixed list of texts, without their padding: ``vector`` (all tokens, dim) float32, those of
    distinct text d in rows ``start[d]`` to ``start[d + 1]``; ``rows`` is each text's number among the distinct
    ones, and last the empty text's."""

    def __init__(self, vector: np.ndarray, start: np.ndarray, rows: np.ndarray, tokens: int, fingerprint: str) -> None:
        self._vector, self._start, self._rows = vector, start, rows
        self.tokens, self.dim, self.fingerprint = tokens, vector.shape[1], fingerprint

    def __len__(self) -> int:
        return len(self._rows) - 1

    def null(self) -> Float[Tensor, "tokens dim"]:
        """The vectors of the empty text."""
        return self._padded([self._rows[-1]])[0]

    def batch(self, indices: np.ndarray | Tensor) -> Float[Tensor, "b tokens dim"]:
        """The vectors of texts ``indices`` (B,), float32 on the CPU, zero after each text's last token.

        Raises UsageError for an index outside the table."""
        indices = np.asarray(indices, dtype=np.int64)
        wrong = indices[(indices < 0) | (indices >= len(self))]
        if len(wrong):
            raise UsageError(f"caption {wrong[0]} is not in the table of {len(self)} texts")
        return self._padded(self._rows[indices])

    def _padded(self, distinct: Any) -> Tensor:
        result = np.zeros((len(distinct), self.tokens, self.dim), np.float32)
        for row, text in zip(result, distinct, strict=True):
            vectors = self._vector[self._start[text] : self._start[text + 1]]
            row[: len(vectors)] = vectors
        return torch.from_numpy(result)
