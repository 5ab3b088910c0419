"""A stock causal network of transformers that reads in an order of its own."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.errors import UsageError
from tenfold.files import disk_errors, plain, write_json
from tenfold.hub.checkpoints import read_safetensors, tensor_index, write_safetensors
from tenfold.hub.fetch import CONFIG, WEIGHTS, resolve
from tenfold.hub.folders import OURS, header, load_strict, read_config
from tenfold.nn.tensors import read_tensors, within
from tenfold.ordering.config import ORDER_WORDS, OrderLMConfig
from tenfold.runs.machine import require_weights
from tenfold.settings.values import build
from tenfold.text.networks import library
from tenfold.text.tokenizer import Tokenizer, read_tokenizer

_HEAD, _TABLE = "lm_head.weight", "model.embed_tokens.weight"  # one tensor where they are tied
_NEEDS = "models that read in an order need"


class OrderLM(nn.Module):
    """A Llama network (``LlamaForCausalLM``) of texts in the order that its configuration names.

    Of order "permuted" each input carries two more embeddings: of its own place in the text, and of the place that is
    predicted next (sigma-GPT, arXiv:2404.09562); of "masked" there is no causal mask, and the output at a place
    predicts the token there.

    >>> model = OrderLM(OrderLMConfig(width=32, layers=1, heads=2, intermediate=48, length=8))
    >>> tokens = torch.zeros(2, 8, dtype=torch.long)
    >>> model(tokens[:, :-1], tokens[:, 1:]).shape
    torch.Size([2, 7])
    """

    model_type = "ordering"
    config_class = OrderLMConfig

    def __init__(self, config: OrderLMConfig, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        transformers = library(_NEEDS)
        settings = transformers.LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads or config.heads,
            max_position_embeddings=config.length + 1,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            bos_token_id=config.begin,
            eos_token_id=config.end,
            tie_word_embeddings=config.tied,
            is_causal=config.is_causal,
            use_cache=False,
            attn_implementation="sdpa",
            architectures=["LlamaForCausalLM"],
        )
        self.network: Any = transformers.LlamaForCausalLM(settings)
        self.places: nn.Embedding | None = None
        self.targets: nn.Embedding | None = None
        if config.order == "permuted":
            # Place 0 is that of the begin.
            self.places, self.targets = (nn.Embedding(config.length + 1, config.width) for _ in range(2))
            for table in (self.places, self.targets):
                nn.init.normal_(table.weight, std=settings.initializer_range)

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards, and activation checkpointing recomputes, one by one."""
        return list(self.network.model.layers)

    @read_tensors()
    def logits(
        self,
        inputs: Int[Tensor, "b m"],
        places: Int[Tensor, "b m"] | None = None,
        after: Int[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b m k"]:
        """Logits after each input. ``places`` of the inputs in the text, and of what comes ``after`` each, counted from
        1 with the begin at 0, are told to a model of any order, and to no other.

        Raises UsageError for texts without tokens, longer ones than the model reads, and, on the CPU, tokens that it
        does not have."""
        longest = self.config.length + 1
        if not 1 <= inputs.shape[1] <= longest:
            raise UsageError(f"inputs has shape {tuple(inputs.shape)}; the model reads 1 to {longest} tokens of a text")
        known = ((inputs, "inputs", self.config.vocabulary), (places, "places", longest), (after, "after", longest))
        for values, name, most in known:
            if values is not None and values.device.type == "cpu":
                within(values, name, 0, most)
        if (places is None) != (self.places is None) or (after is None) != (self.targets is None):
            raise UsageError(
                f"places are told to models of order permuted, and only to them; this is {self.config.order}"
            )
        if not len(inputs):  # the stock network cannot tell the shapes of no texts
            return self.network.lm_head.weight.new_zeros(0, inputs.shape[1], self.config.vocabulary)
        if self.places is None or self.targets is None:
            return self.network(input_ids=inputs, use_cache=False).logits
        vectors = self.network.get_input_embeddings()(inputs) + self.places(places) + self.targets(after)
        return self.network(inputs_embeds=vectors, use_cache=False).logits

    @read_tensors()
    def forward(
        self,
        inputs: Int[Tensor, "b m"],
        targets: Int[Tensor, "b m"],
        places: Int[Tensor, "b m"] | None = None,
        after: Int[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b m"]:
        """The training computation: −log p of the targets in nats, float32."""
        if targets.device.type == "cpu":
            within(targets, "targets", 0, self.config.vocabulary)
        logits = self.logits(inputs, places, after).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)

    def require_order(self, direction: str) -> None:
        """Raises UsageError where the model was not trained to read in this direction, "l2r" or "r2l"."""
        if self.config.direction not in (direction, "any"):
            asked = {"l2r": "left to right", "r2l": "right to left"}[direction]
            raise UsageError(
                f"the model was trained {ORDER_WORDS[self.config.order]} (order {self.config.order}, packing "
                f"{self.config.packing}), so it does not read {asked}; leave the order out"
            )

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json``, with order, packing and the tokenizer's hash, ``model.safetensors`` and the tokenizer.
        Stock ``transformers`` loads the folder too, unless the order is "permuted"."""
        path = Path(folder)
        ours = header(type(self), self.config, extra)
        with disk_errors(str(path)):
            path.mkdir(parents=True, exist_ok=True)
            if self.tokenizer is not None and not self.config.alphabet:
                self.tokenizer.save(path)
            tensors = {name.removeprefix("network."): value for name, value in self.state_dict().items()}
            if self.config.tied:
                del tensors[_HEAD]
            write_safetensors(path / WEIGHTS, tensors, {"format": "pt"})
            write_json(path / CONFIG, plain({**self.network.config.to_dict(), OURS: ours}))

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> "OrderLM":
        """The model in a folder or hub repository, in evaluation mode.

        Raises UsageError for another kind of model, tensors that are missing, extra or mis-shaped, and a tokenizer that
        is not the one of its training."""
        folder = resolve(source)
        file = read_config(folder)
        if file["model_type"] != cls.model_type:
            raise UsageError(f"{folder / CONFIG} is of a {file['model_type']!r} model, expected {cls.model_type!r}")
        config = build(OrderLMConfig, file["config"], str(folder / CONFIG))
        tokenizer = None
        if config.alphabet:
            found = config.characters_hash
        else:
            tokenizer = read_tokenizer(folder)
            if tokenizer is None:
                raise UsageError(f"{folder} has no tokenizer; give the folder that the training wrote")
            found = tokenizer_hash(tokenizer)
        if config.tokenizer_hash and found != config.tokenizer_hash:
            raise UsageError(
                f"{folder} has another tokenizer than the one that its model was trained with; give the folder "
                "that the training wrote"
            )
        files = sorted({place for place, _ in tensor_index(folder).values()})
        require_weights(files, folder)
        model = cls(config, tokenizer)
        own = ("places.", "targets.")
        tensors = {
            name if name.startswith(own) else f"network.{name}": tensor
            for place in files
            for name, tensor in read_safetensors(place).items()
        }
        if config.tied and (table := tensors.get(f"network.{_TABLE}")) is not None:
            tensors[f"network.{_HEAD}"] = table
        load_strict(model, tensors, str(folder))
        return model.to(device).eval()


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """What tells a tokenizer from others: the checksum of its whole description, or of what it makes of the bytes."""
    inner = getattr(getattr(tokenizer, "inner", None), "backend_tokenizer", None)
    told = inner.to_str() if inner is not None else repr([tokenizer.encode(chr(i)) for i in range(32, 127)])
    return hashlib.sha256(told.encode()).hexdigest()
