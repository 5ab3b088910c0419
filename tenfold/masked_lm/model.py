"""A stock causal language model of transformers without its causal mask."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tenfold.discrete.objectives import cross_entropy
from tenfold.errors import UsageError
from tenfold.hub.folders import OURS, header
from tenfold.masked_lm.config import MaskedLMConfig, SpecialIds
from tenfold.masked_lm.network import geometry, stock_network
from tenfold.masked_lm.weights import read_checkpoint, write_checkpoint
from tenfold.text.tokenizer import ByteTokenizer, Tokenizer

_LOGITS_AT_ONCE = 2**24  # 64 MiB in float32
TokenLoss = Callable[[Tensor, Tensor], Tensor]
"""Log-probabilities (b, n, K) and tokens (b, n) to losses (b, n), as in ``tenfold.discrete.objectives``."""


class MaskedLM(nn.Module):
    """A bidirectional language model that predicts the tokens behind masks (arXiv 2506.20639, section 3).

    Input x_t is a sequence in which some tokens are the mask m; the output is, for each masked position, a
    distribution over the vocabulary of its token in x_0. There is no embedding of the time t.

    >>> model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64))
    >>> tokens = torch.full((1, 8), model.special.mask)
    >>> positions = torch.arange(1, 8)
    >>> model.logits(model.hidden(tokens)[:, model.predictor(positions)]).shape
    torch.Size([1, 7, 258])

    Attributes:
        network: the stock ``Qwen2ForCausalLM`` or ``LlamaForCausalLM``, ``is_causal=False`` in its configuration.
        special: numbers of the mask, padding, begin and end tokens.
        logit_shift: whether the output at position i−1 predicts token i, as in the autoregressive model that the
            weights come from. Token 0 then has no predictor and is never masked.
        tokenizer: what turns text into tokens and back; None where none was saved.
    """

    model_type = "masked-lm"

    def __init__(
        self, network: nn.Module, special: SpecialIds, logit_shift: bool = True, tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__()
        self.network: Any = network
        settings: Any = network.config
        settings.is_causal = settings.use_cache = False
        self.special, self.logit_shift, self.tokenizer = special, logit_shift, tokenizer
        special.check(self.vocab_size)
        self.register_state_dict_post_hook(_without_tied_head)

    @classmethod
    def from_config(cls, config: MaskedLMConfig) -> "MaskedLM":
        """A network with fresh random weights, on the current default device ("meta" allocates nothing)."""
        tokenizer = ByteTokenizer() if config.tokenizer == "bytes" else None  # others are in files
        return cls(stock_network(config), config.special, config.logit_shift, tokenizer)

    @property
    def config(self) -> MaskedLMConfig:
        """The geometry, as the recipes set it."""
        return geometry(self.network.config, self.special, self.logit_shift, self.tokenizer)

    @property
    def vocab_size(self) -> int:
        """K: the tokens that the head tells apart, special and unused ones included."""
        return int(self.network.config.vocab_size)

    @property
    def max_positions(self) -> int:
        """The longest sequence that the positions are made for."""
        return int(self.network.config.max_position_embeddings)

    @property
    def window(self) -> int | None:
        """How far the layers look at most where some have a sliding window."""
        settings = self.network.config
        if any("sliding" in kind for kind in getattr(settings, "layer_types", None) or ()):
            return int(settings.sliding_window)
        return None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards, and activation checkpointing recomputes, one by one."""
        return list(self.network.base_model.layers)

    def hidden(
        self,
        tokens: Shaped[Tensor, "b n"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b n"] | None = None,
        cache: object | None = None,
    ) -> Float[Tensor, "b n d"]:
        """The network's last hidden states, without the head.

        Args:
            tokens: x_t, of any integer type.
            attention_mask: None for full attention; (b, n) with 0 at padding (n counts cached positions too); or
                (b or 1, 1, n, keys) of bool, True where a query may look at a key, or of floats that are added.
            position_ids: None counts from 0, and after left padding from the first real token.
            cache: a ``transformers`` cache to read from and to write to.

        Raises:
            UsageError: a mask of another shape, or more tokens than ``max_positions``.
        """
        if tokens.dtype != torch.int64:
            tokens = integers(tokens)
        if tokens.shape[1] > self.max_positions:
            raise UsageError(
                f"a sequence of {tokens.shape[1]} tokens exceeds the {self.max_positions} positions of the model; "
                "shorten it"
            )
        if attention_mask is not None:
            attention_mask = self._checked(attention_mask, tokens)
            if attention_mask.ndim == 2 and position_ids is None:
                position_ids = positions_after_padding(attention_mask)[:, -tokens.shape[1] :]
        output = self.network.base_model(
            input_ids=tokens,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def _checked(self, mask: Tensor, tokens: Tensor) -> Tensor:
        b, n = tokens.shape
        padding = mask.ndim == 2 and mask.shape[0] == b and mask.shape[1] >= n
        pattern = mask.ndim == 4 and mask.shape[0] in (1, b) and mask.shape[2] == n and mask.shape[3] >= n
        if not (padding or pattern):
            raise UsageError(
                f"the attention mask has shape {tuple(mask.shape)}; expected ({b}, {n}) with 0 at padding, or "
                f"({b}, 1, {n}, {n})"
            )
        if padding and mask.is_floating_point():
            raise UsageError(f"the padding mask is {mask.dtype}; expected bool or integers, 0 at padding")
        if pattern and mask.shape[3] > (self.window or mask.shape[3]):
            raise UsageError(
                f"the network looks at {self.window} positions around each, which a pattern over {mask.shape[3]} would "
                "override; give shorter sequences"
            )
        return self.pattern(mask) if pattern and mask.dtype == torch.bool else mask

    def pattern(self, looked_at: Bool[Tensor, "b 1 n k"]) -> Shaped[Tensor, "b 1 n k"]:
        """Which keys each query looks at, in the form that the network's kind of attention takes."""
        if self.network.config._attn_implementation != "eager":
            return looked_at
        # Plain attention adds the mask to the scores.
        dtype = self.network.dtype
        return torch.where(looked_at, 0.0, torch.finfo(dtype).min).to(dtype)

    def logits(self, hidden_rows: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows k"]:
        """The head alone, on any rows of ``hidden``."""
        return self.network.get_output_embeddings()(hidden_rows)

    def predictor(self, positions: Int[Tensor, "*p"]) -> Int[Tensor, "*p"]:
        """The rows of ``hidden`` that predict the tokens at ``positions``: i−1 with ``logit_shift``, else i.

        Row 0 stands for position 0, which has no predictor under the shift and is never masked."""
        return (positions - 1).clamp(min=0) if self.logit_shift else positions

    def forward(
        self,
        noisy: Shaped[Tensor, "b n"],
        clean: Shaped[Tensor, "b n"],
        chosen: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b n"] | None = None,
        loss: TokenLoss = cross_entropy,
    ) -> Float[Tensor, "b n"]:
        """The training computation: −log p(x_0^n | x_t) in nats (or another ``loss`` of log-probabilities and tokens),
        float32, at the positions ``chosen`` (b, n) bool, and 0 elsewhere. The head runs on the chosen rows only, in
        parts whose logits fit into memory; with gradients the logits of all but the last part are computed a second
        time instead of being kept."""
        clean = clean if clean.dtype == torch.int64 else integers(clean)
        hidden = self.hidden(noisy, attention_mask, position_ids)
        rows, positions = chosen.nonzero(as_tuple=True)
        inputs, targets = hidden[rows, self.predictor(positions)], clean[rows, positions]
        size = max(1, _LOGITS_AT_ONCE // self.vocab_size)
        parts = zip(inputs.split(size), targets.split(size), strict=True)
        again = len(inputs) > size and torch.is_grad_enabled()
        losses = [
            checkpoint(self._loss, *part, loss, use_reentrant=False) if again else self._loss(*part, loss)
            for part in parts
        ]
        nll = torch.zeros(noisy.shape, dtype=torch.float32, device=noisy.device)
        return nll.index_put((rows, positions), torch.cat(losses))

    def _loss(self, inputs: Tensor, targets: Tensor, loss: TokenLoss) -> Tensor:
        return loss(self.logits(inputs).float().log_softmax(-1)[None], targets[None])[0]

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        mask_id: int | None = None,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> "MaskedLM":
        """A masked language model from a local folder or hub repository in the Hugging Face layout: DiffuCoder's or
        Dream's, one of ours, a Qwen2 or Llama network with a mask token, or an adapter of ``peft`` for one of these,
        which is merged into the network that its ``adapter_config.json`` names.

        Special numbers and ``logit_shift`` are read from its files (without a word on the shift there is one). The
        result is checked to be bidirectional and is in evaluation mode.

        Args:
            mask_id: number of the mask token, for checkpoints whose files name none.
            dtype: precision of the weights; None keeps the file's.

        Raises:
            UsageError: no masked model there, a network of another kind, missing, extra or mis-shaped tensors (listed),
                pickled weights, a causal network.
        """
        model = cls(*read_checkpoint(source, mask_id, revision, device, dtype))
        require_bidirectional(model)
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and the tokenizer in the Hugging Face layout; stock
        ``transformers`` loads the folder too. ``extra`` are further JSON values about the model's making."""
        ids = {f"{name}_token_id": number for name, number in vars(self.special).items()}
        ours = header(type(self), self.config, extra)
        facts = {**ids, "logit_shift": self.logit_shift, "is_causal": False, OURS: ours}
        write_checkpoint(Path(folder), self.network, self.tokenizer, facts)


def _without_tied_head(model: MaskedLM, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Checkpoints hold shared weights once: under FSDP2 they could not be written twice."""
    network = model.network
    if network.get_output_embeddings().weight is network.get_input_embeddings().weight:
        state.pop(f"{prefix}network.lm_head.weight", None)


def as_tensor(values: object, what: str) -> Tensor:
    """Numbers of PyTorch, NumPy or lists as a tensor; UsageError, which begins with ``what``, for others."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UsageError(f"{what} is no array of numbers: {' '.join(str(error).split())[:120]}") from None


def require_finite_logits(values: Tensor, when: str = "") -> None:
    """Raises UsageError where what was made of logits, ``when`` says at what time, is NaN or infinite."""
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"the model's logits are NaN or infinite{when}; the weights are damaged, or float32 is needed")


def integers(tokens: Tensor, what: str = "the rows") -> Tensor:
    """Token ids of any integer type as int64; UsageError for other types."""
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise UsageError(
            f"{what} is a {tokens.dtype} tensor of shape {tuple(tokens.shape)}; token ids of shape (batch, length) "
            "are needed"
        )
    return tokens.long()


def token_ids(values: object, vocabulary: int, what: str = "the rows") -> Int[Tensor, "b n"]:
    """Token ids (b, n) of any integer type, or of lists, as int64.

    Raises UsageError for another shape or type, and for ids outside the vocabulary."""
    tokens = as_tensor(values, what)
    if not tokens.numel() and tokens.ndim == 1 and isinstance(values, list | tuple):
        tokens = torch.zeros(len(tokens), 0, dtype=torch.int64)
    if not tokens.numel() and tokens.ndim == 2:
        tokens = tokens.long()  # an empty list has no type
    if tokens.ndim != 2:
        raise UsageError(f"{what} has shape {tuple(tokens.shape)}; token ids of shape (batch, length) are needed")
    tokens = integers(tokens, what)
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary):
        wrong = int(tokens.min()) if int(tokens.min()) < 0 else int(tokens.max())
        raise UsageError(f"token id {wrong} is outside the model's vocabulary of {vocabulary}")
    return tokens


def positions_after_padding(attention_mask: Shaped[Tensor, "b n"]) -> Int[Tensor, "b n"]:
    """Position numbers that count real tokens from 0; 1 at padding, as the reference has it."""
    mask = attention_mask.long()
    return torch.where(mask > 0, mask.cumsum(-1) - 1, 1)


@torch.no_grad()
def require_bidirectional(model: MaskedLM) -> None:
    """Raises UsageError where the last token has no influence on the first row: the network is causal (older
    versions of transformers ignore ``is_causal=False``)."""
    tokens = torch.zeros(2, min(4, model.max_positions), dtype=torch.long, device=model.device)
    tokens[1, -1] = 1
    training = model.training
    rows = model.eval().hidden(tokens)[:, 0]
    model.train(training)
    if torch.equal(rows[0], rows[1]):
        raise UsageError(
            "the network is causal: changing the last token leaves the first row as it is; "
            "install transformers >= 5.24, which honours is_causal=False"
        )
