"""Checkpoints in the Hugging Face layout: reading them tensor by tensor, and writing them."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tenfold import __version__, hub, progress
from tenfold.errors import UsageError
from tenfold.files import disk_errors, plain, read_json, write_json
from tenfold.hub.tensors import differences, listed
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM, require_bidirectional
from tenfold.masked_lm.special import SpecialIds, read_special
from tenfold.masked_lm.tokenizer import ByteTokenizer
from tenfold.text import networks as text_models
from tenfold.text.tokenizer import read_tokenizer

FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
# model_type of config.json: the stock class that has the same tensors. Dream's modelling code is Qwen2's.
_FAMILIES = {"Dream": "Qwen2", "qwen2": "Qwen2", "llama": "Llama"}
_SHARD = "4GB"


def stock_network(config: MaskedLMConfig) -> nn.Module:
    """The ``transformers`` network of a geometry, freshly initialised, on the current default device."""
    transformers = library()
    name = _FAMILIES[config.family]
    settings = getattr(transformers, f"{name}Config")(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        max_position_embeddings=config.positions,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        rms_norm_eps=config.norm_epsilon,
        tie_word_embeddings=config.tied,
        pad_token_id=config.pad,
        bos_token_id=config.bos,
        eos_token_id=config.eos,
        is_causal=False,
        attn_implementation="sdpa",
    )
    network: nn.Module = getattr(transformers, f"{name}ForCausalLM")(settings)
    return network


def geometry(settings: Any, special: SpecialIds, logit_shift: bool, tokenizer: Any) -> MaskedLMConfig:
    """The geometry of a ``transformers`` configuration."""
    return MaskedLMConfig(
        family=settings.model_type,
        vocab_size=settings.vocab_size,
        width=settings.hidden_size,
        layers=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        kv_heads=0 if settings.num_key_value_heads == settings.num_attention_heads else settings.num_key_value_heads,
        intermediate=settings.intermediate_size,
        positions=settings.max_position_embeddings,
        rope_theta=float(settings.rope_parameters["rope_theta"]),
        norm_epsilon=settings.rms_norm_eps,
        tied=bool(settings.tie_word_embeddings),
        logit_shift=logit_shift,
        **vars(special),
        tokenizer="bytes" if isinstance(tokenizer, ByteTokenizer) else "files",
    )


def load(
    source: str | os.PathLike[str],
    *,
    mask_id: int | None = None,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> MaskedLM:
    """A masked language model from a checkpoint folder or hub repository: DiffuCoder's or Dream's, one of ours, or a
    Qwen2 or Llama network with a mask token.

    Special numbers and ``logit_shift`` are read from its files (without a word on the shift there is one). The result
    is checked to be bidirectional and is in evaluation mode.

    Args:
        mask_id: number of the mask token, for checkpoints whose files name none.
        dtype: precision of the weights; None keeps the file's.

    Raises:
        UsageError: a network of another kind, no mask token, missing, extra or mis-shaped tensors (listed), pickled
            weights, a causal network.
    """
    folder = hub.resolve(source, revision, FILES)
    settings = read_settings(folder)
    ids = read_special({"mask_token_id": mask_id}, settings, _optional(folder / "generation_config.json"))
    ours = settings.get(hub.OURS, {})
    in_bytes = ours.get("config", {}).get("tokenizer") == "bytes"
    tokenizer = ByteTokenizer() if in_bytes else read_tokenizer(folder, settings["model_type"])
    if ids["mask"] is None and tokenizer is not None and not isinstance(tokenizer, ByteTokenizer):
        ids["mask"] = tokenizer.inner.mask_token_id
    if ids["mask"] is None:
        raise UsageError(
            f"{folder} names no mask token, so it is an autoregressive checkpoint; give it one with "
            f"'tenfold convert masked-lm {source} OUT_DIR'"
        )
    special = SpecialIds(ids["mask"], ids["pad"], ids["bos"], ids["eos"])
    special.check(settings["vocab_size"])
    model = MaskedLM(network_of(folder, settings, device, dtype), special, settings.get("logit_shift", True), tokenizer)
    require_bidirectional(model)
    return model.eval()


def read_settings(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint; UsageError for a network that is not Qwen2- or Llama-shaped."""
    if not (folder / hub.CONFIG).is_file():
        raise UsageError(f"{folder} is no model folder: it has no {hub.CONFIG}")
    settings = read_json(folder / hub.CONFIG)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in _FAMILIES:
        raise UsageError(f"{folder / hub.CONFIG} is of a {kind!r} model; expected {', '.join(_FAMILIES)}")
    return dict(settings)


def network_of(
    folder: Path, settings: Mapping[str, Any], device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> nn.Module:
    """The stock network of a checkpoint folder with its weights: made on the meta device, and filled one tensor at a
    time, so that no second copy of the weights is ever in memory.

    Raises UsageError that lists missing, extra and mis-shaped tensors."""
    from accelerate import init_empty_weights

    transformers = library()
    name = _FAMILIES[settings["model_type"]]
    known = {k: v for k, v in settings.items() if k not in ("model_type", "architectures", "auto_map", hub.OURS)}
    try:
        config = getattr(transformers, f"{name}Config")(**{**known, "is_causal": False})
        config._attn_implementation = "sdpa"
        with init_empty_weights(include_buffers=False):
            network = getattr(transformers, f"{name}ForCausalLM")(config)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{folder / hub.CONFIG} does not describe a {name} network: {reason}") from None
    fill(network, folder, device, dtype)
    return network


def fill(network: nn.Module, folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> None:
    """Give a network on the meta device the weights of a folder's safetensors files, one at a time."""
    index = tensor_index(folder)
    tied = bool(network.config.tie_word_embeddings)  # type: ignore[union-attr]
    expected = {name: tuple(p.shape) for name, p in network.named_parameters(remove_duplicate=False)}
    head = "lm_head.weight"
    found = {name: shape for name, (_, shape) in index.items()}
    if tied and head not in found:
        expected.pop(head, None)
    if wrong := differences(found, expected):
        raise UsageError(f"the tensors of {folder} do not fit {type(network).__name__}: {wrong}")
    by_file: dict[Path, list[str]] = {}
    for name, (file, _) in index.items():
        by_file.setdefault(file, []).append(name)
    with progress.task("reading weights", len(index), "tensors") as step:
        for file, names in by_file.items():
            with _opened(file) as tensors:
                for name in names:
                    # A copy: what the file gives is a view of its mapping, all of which would stay in memory.
                    value = tensors.get_tensor(name).to(device=device, dtype=dtype, copy=True)
                    _assign(network, name, value)
                    step()
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
    if any(p.dtype == torch.float16 for p in network.parameters()) and str(device) == "cpu":
        network.float()


def tensor_index(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """File and shape of every tensor of a folder, from the headers alone, checked against the index of the shards.

    Raises UsageError for missing files, a damaged file, an index that differs from its shards, and pickled weights."""
    if (folder / hub.WEIGHTS).is_file():
        return _headers([folder / hub.WEIGHTS])
    if not (folder / hub.INDEX).is_file():
        pickled = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
        if pickled:
            raise UsageError(
                f"{folder} holds pickled weights ({listed(pickled)}), which could run code when read; "
                "save them as safetensors"
            )
        raise UsageError(f"{folder} holds no weights: neither {hub.WEIGHTS} nor {hub.INDEX}")
    listing = read_json(folder / hub.INDEX).get("weight_map")
    if not isinstance(listing, dict) or not all(isinstance(shard, str) for shard in listing.values()):
        raise UsageError(f"{folder / hub.INDEX} has no 'weight_map'")
    shards = sorted(set(listing.values()))
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise UsageError(f"{folder / hub.INDEX} lists {shard}, which is not in the folder")
    found = _headers([folder / shard for shard in shards])
    different = {n for n in set(found) | set(listing) if n not in found or found[n][0].name != listing.get(n)}
    if different:
        raise UsageError(f"{folder / hub.INDEX} and its shards hold different tensors: {listed(sorted(different))}")
    return found


def _headers(files: list[Path]) -> dict[str, tuple[Path, tuple[int, ...]]]:
    found = {}
    for file in files:
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                found[name] = (file, tuple(tensors.get_slice(name).get_shape()))
    return found


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{file} is truncated or not a safetensors file: {reason}") from None


def _assign(network: nn.Module, name: str, value: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Parameter(value))


def _optional(file: Path) -> dict[str, Any]:
    content = read_json(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def save(model: MaskedLM, folder: Path, extra: Mapping[str, Any]) -> None:
    """Write a model folder beside and move it into place, each file whole; shards of 4 GB."""
    beside = folder.with_name(f".{folder.name}.part")
    with disk_errors(str(folder)):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            with text_models.quiet(library()):
                model.network.save_pretrained(beside, max_shard_size=_SHARD)
            if model.tokenizer is not None:
                model.tokenizer.save(beside)
            settings = read_json(beside / hub.CONFIG)
            ours = {
                "model_type": model.model_type,
                "tenfold_version": __version__,
                "config": plain(asdict(model.config)),
                **plain(dict(extra)),
            }
            ids = {f"{name}_token_id": number for name, number in vars(model.special).items()}
            settings |= {**ids, "logit_shift": model.logit_shift, "is_causal": False, hub.OURS: ours}
            write_json(beside / hub.CONFIG, settings)
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(beside.iterdir()):
                os.replace(file, folder / file.name)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def library() -> Any:
    """``transformers``; UsageError where it is missing."""
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "masked language models need the package transformers, which is missing; run: pip install 'tenfold[lm]'"
        ) from error
    return transformers
