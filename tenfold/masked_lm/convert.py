"""Autoregressive checkpoints to masked language models: a mask token, special numbers, no causal mask."""

from pathlib import Path
from typing import Any

import torch

from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.masked_lm.config import SpecialIds, read_special
from tenfold.masked_lm.model import MaskedLM, require_bidirectional
from tenfold.masked_lm.weights import network_of, read_settings
from tenfold.text import networks as text_models
from tenfold.text.tokenizer import FileTokenizer, read_tokenizer

_NOISE = 0.1  # of the new row, in standard deviations of the embeddings


def read_published(
    path: str | Path, mask_token: str = "<|mask|>", mask_id: int | None = None, seed: int = 0
) -> MaskedLM:
    """A masked language model from any Qwen2- or Llama-shaped checkpoint, autoregressive ones included.

    A checkpoint that has a mask token keeps it. Otherwise the token ``mask_token`` takes the first row of the embedding
    that no token uses, or a row that is added: the mean of the embeddings and a little noise.

    Args:
        path: a folder, a run, a hub id, or "smollm2" (SmolLM2-135M-Instruct of a package, dequantised from 4 bits).
        mask_token: how a new mask is written.
        mask_id: number of the mask token, where the checkpoint has a free row for it.
        seed: of the noise.
    """
    name = str(path)
    network: Any
    if name in text_models.PACKAGED or name.endswith(".gguf"):
        inner, network = text_models.load_causal(text_models.find(name, what="language model"))
        if network.config.model_type not in ("llama", "qwen2"):
            raise UsageError(f"{name} is a {network.config.model_type} model; expected a Qwen2- or Llama-shaped one")
        ids = read_special(network.config.to_dict())
    else:
        folder = model_folder(path, None, text_models.PATTERNS)
        settings = read_settings(folder)
        ids = read_special({"mask_token_id": mask_id}, settings)
        if ids["mask"] is not None and mask_id is None:
            return MaskedLM.from_pretrained(folder)
        found = read_tokenizer(folder, settings["model_type"])
        inner = None if found is None else found.inner
        if getattr(inner, "mask_token_id", None) is not None:
            return MaskedLM.from_pretrained(folder)
        network = network_of(folder, settings)
    if inner is None and mask_id is None:
        raise UsageError(f"{name} has no tokenizer, so that nobody knows which rows are free; give a free --mask-id")
    number = mask_row(network, inner, mask_token, mask_id, seed)
    pad = ids["pad"] if ids["pad"] is not None else ids["eos"]
    special = SpecialIds(number, pad, ids["bos"], ids["eos"])
    model = MaskedLM(network, special, logit_shift=True, tokenizer=None if inner is None else FileTokenizer(inner))
    require_bidirectional(model)
    return model.eval()


@torch.no_grad()
def mask_row(network: Any, tokenizer: Any, token: str, number: int | None, seed: int) -> int:
    """Give a network and its tokenizer a mask token, and its row the mean of the rows in use plus noise; returns its
    number.

    Raises UsageError for a number that a token of the tokenizer has already, or that no row can have."""
    rows = network.get_input_embeddings().weight.shape[0]
    used = rows if tokenizer is None else len(tokenizer)
    if number is not None and not 0 <= number < rows:
        raise UsageError(f"mask-id is {number}; the embedding has rows 0 to {rows - 1}")
    if tokenizer is not None:
        if number is not None and number != used:
            taken = tokenizer.convert_ids_to_tokens(number) if number < used else None
            what = f"the token {taken!r} already" if taken is not None else "no token, but the next free number"
            raise UsageError(f"mask-id {number} is {what} ({used}); leave --mask-id out")
        if token in tokenizer.get_vocab():
            raise UsageError(f"mask-token {token!r} is a token of the vocabulary already; choose another --mask-token")
        tokenizer.add_special_tokens({"mask_token": token})
        number = int(tokenizer.mask_token_id)
    assert number is not None
    if number >= rows:
        network.resize_token_embeddings(number + 1, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    tables = {id(layer.weight): layer for layer in (network.get_input_embeddings(), network.get_output_embeddings())}
    for layer in tables.values():
        weight = layer.weight
        others = torch.cat([weight[:number], weight[number + 1 : max(used, number + 1)]]).float()
        noise = torch.randn(weight.shape[1], generator=generator).to(others)
        weight[number] = (others.mean(0) + _NOISE * others.std(0) * noise).to(weight)
    return number
