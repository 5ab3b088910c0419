"""Checkpoints of masked language models in the Hugging Face layout: read tensor by tensor, and written."""

import os
import shutil
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.files import disk_errors, read_json, write_json
from tenfold.hub.checkpoints import opened, tensor_index
from tenfold.hub.fetch import CONFIG, resolve
from tenfold.hub.folders import OURS
from tenfold.hub.tensors import differences, require_finite
from tenfold.masked_lm.adapters import ADAPTER, base_of, merged
from tenfold.masked_lm.config import SpecialIds, read_special
from tenfold.masked_lm.network import FAMILIES, NEEDS
from tenfold.runs.machine import require_weights
from tenfold.settings.values import read
from tenfold.text.byte_files import write_byte_tokenizer
from tenfold.text.networks import PATTERNS, library, quiet
from tenfold.text.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer, read_tokenizer, require_room


def read_checkpoint(
    source: str | os.PathLike[str],
    mask_id: int | None = None,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, SpecialIds, bool, Tokenizer | None]:
    """What a checkpoint folder or hub repository (see ``MaskedLM.from_pretrained``) holds: the stock network with its
    weights, the special numbers, whether the output at position i−1 predicts token i, and the tokenizer, if any."""
    folder = resolve(source, revision, PATTERNS)
    if (folder / ADAPTER).is_file():
        base = read_checkpoint(base_of(folder), mask_id, None, device, dtype)
        return merged(base[0], folder), *base[1:]
    settings = read_settings(folder)
    more = folder / "generation_config.json"
    generation = read_json(more) if more.is_file() else {}
    ids = read_special({"mask_token_id": mask_id}, settings, generation if isinstance(generation, dict) else {})
    match settings.get(OURS):
        case {"config": {"tokenizer": "bytes"}}:
            tokenizer: Tokenizer | None = ByteTokenizer()
        case _:
            tokenizer = read_tokenizer(folder, settings["model_type"])
    if ids["mask"] is None and isinstance(tokenizer, FileTokenizer):
        ids["mask"] = tokenizer.inner.mask_token_id
    if ids["mask"] is None:
        raise UsageError(
            f"{folder} names no mask token, so it is an autoregressive checkpoint; give it one with "
            f"'tenfold convert masked-lm {source} OUT_DIR'"
        )
    special = SpecialIds(ids["mask"], ids["pad"], ids["bos"], ids["eos"])
    vocabulary = read(int, settings.get("vocab_size"), f"vocab_size of {folder / CONFIG}")
    special.check(vocabulary)
    if isinstance(tokenizer, FileTokenizer):
        require_room(tokenizer, vocabulary, str(folder))
    shift = read(bool, settings.get("logit_shift", True), f"logit_shift of {folder / CONFIG}")
    network = network_of(folder, settings, device, dtype)
    return network, special, shift, tokenizer


def read_settings(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint; UsageError for a network that is not Qwen2- or Llama-shaped."""
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is no model folder: it has no {CONFIG}")
    settings = read_json(folder / CONFIG)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in FAMILIES:
        raise UsageError(f"{folder / CONFIG} is of a {kind!r} model; expected {', '.join(FAMILIES)}")
    return dict(settings)


def network_of(
    folder: Path, settings: Mapping[str, Any], device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> nn.Module:
    """The stock network of a checkpoint folder with its weights: made on the meta device, and filled one tensor at a
    time, so that no second copy of the weights is ever in memory.

    Raises UsageError that lists missing, extra and mis-shaped tensors."""
    transformers, name = library(NEEDS), FAMILIES[settings["model_type"]]
    known = {k: v for k, v in settings.items() if k not in ("model_type", "architectures", "auto_map", OURS)}
    try:
        config = getattr(transformers, f"{name}Config")(**{**known, "is_causal": False})
        config._attn_implementation = "sdpa"
        with init_empty_weights(include_buffers=False):
            network = getattr(transformers, f"{name}ForCausalLM")(config)
    except Exception as error:  # the library raises dozens of types
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{folder / CONFIG} does not describe a {name} network: {reason}") from None
    fill(network, folder, device, dtype)
    return network


def fill(network: nn.Module, folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> None:
    """Give a network on the meta device the weights of a folder's safetensors files, one at a time."""
    index = tensor_index(folder)
    tied = bool(network.config.tie_word_embeddings)  # type: ignore[union-attr]
    expected = {name: tuple(p.shape) for name, p in network.named_parameters(remove_duplicate=False)}
    head = "lm_head.weight"
    # Older checkpoints carry the frequencies of the rotary positions, which follow from the configuration.
    rotary = {name for name in index if name.endswith("rotary_emb.inv_freq")}
    found = {name: shape for name, (_, shape) in index.items() if name not in rotary}
    if tied and head not in found:
        expected.pop(head, None)
    if wrong := differences(found, expected):
        raise UsageError(f"the tensors of {folder} do not fit {type(network).__name__}: {wrong}")
    require_weights({file for file, _ in index.values()}, folder)
    by_file: dict[Path, list[str]] = {}
    for name, (file, _) in index.items():
        by_file.setdefault(file, []).append(name)
    with progress.task("reading weights", len(index), "tensors") as step:
        for file, names in by_file.items():
            with opened(file) as tensors:
                for name in names:
                    # A copy: what the file gives is a view of its mapping, all of which would stay in memory.
                    stored = tensors.get_tensor(name)
                    step()
                    if name in rotary:
                        _require_rotary(network, stored, folder)
                        continue
                    if not stored.is_floating_point():
                        raise UsageError(f"{name} of {folder} is {stored.dtype}, no weights; convert the checkpoint")
                    require_finite(name, stored, folder)
                    kind = torch.float32 if stored.element_size() < 2 else dtype  # eight bits are for storage
                    value = stored.to(device=device, dtype=dtype or kind, copy=True)
                    parent, _, leaf = name.rpartition(".")
                    setattr(network.get_submodule(parent), leaf, nn.Parameter(value))
    if tied:
        embedding: Any = network.get_input_embeddings().weight  # type: ignore[operator]
        if head in found and not torch.equal(network.get_parameter(head), embedding):
            raise UsageError(
                f"{folder} says that its head is tied to the embedding, but {head} differs from it; set "
                "tie_word_embeddings to false in config.json"
            )
        network.get_output_embeddings().weight = embedding  # type: ignore[operator]
    for module in network.modules():
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = buffer.to(device)
    kinds = {p.dtype for p in network.parameters()}
    if torch.float16 in kinds and torch.device(device).type == "cpu":
        network.float()
    elif len(kinds) > 1:  # of several the widest
        network.to(reduce(torch.promote_types, kinds))


def _require_rotary(network: nn.Module, stored: Tensor, folder: Path) -> None:
    """Raise UsageError where stored frequencies are others, at the precision that they are stored in, than those that
    the configuration gives."""
    body: Any = network.base_model
    own = body.rotary_emb.inv_freq.to("cpu", stored.dtype).double()
    if own.shape != stored.shape or not torch.allclose(own, stored.double(), rtol=4 * torch.finfo(stored.dtype).eps):
        raise UsageError(f"the rotary frequencies in {folder} are not those of its {CONFIG}; mend rope_theta there")


def write_checkpoint(folder: Path, network: nn.Module, tokenizer: Tokenizer | None, facts: Mapping[str, Any]) -> None:
    """Write a model folder beside and move it into place, each file whole; shards of 4 GB. ``facts`` are entries of its
    ``config.json`` besides the network's own."""
    beside = folder.with_name(f".{folder.name}.part")
    with disk_errors(str(folder)):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            with quiet(library(NEEDS)):
                network.save_pretrained(beside, max_shard_size="4GB")  # type: ignore[operator]
            if isinstance(tokenizer, ByteTokenizer):  # ours needs no file; others' do
                write_byte_tokenizer(beside, read_special(facts))
            elif tokenizer is not None:
                tokenizer.save(beside)
            write_json(beside / CONFIG, {**read_json(beside / CONFIG), **facts})
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(beside.iterdir()):
                os.replace(file, folder / file.name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
