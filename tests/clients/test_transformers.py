"""Folders of ours in stock transformers and peft, and theirs in ours."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tenfold.errors import UsageError
from tenfold.masked_lm import MaskedLM, MaskedLMConfig

# Composed and decomposed accents, blanks, control characters, what looks like a special token.
TEXT = "def f(é, e\u0301) :\n\treturn  'x  y'  # 日本 🙂\r\n\x00\x7f<|mask|"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "base")


def saved(place: Path, **changes: Any) -> Path:
    config = MaskedLMConfig(**{"width": 32, "layers": 1, "heads": 2, "intermediate": 64, **changes})
    MaskedLM.from_config(config).save_pretrained(place)
    return place


def test_stock_tokenizers_read_bytes(folder: Path, tmp_path: Path) -> None:
    # By the network's type: Qwen2's own tokenizer composes accents, whatever the files say.
    read = {
        AutoTokenizer.from_pretrained(folder): unicodedata.normalize("NFC", TEXT),
        AutoTokenizer.from_pretrained(saved(tmp_path, family="llama")): TEXT,
        PreTrainedTokenizerFast.from_pretrained(folder): TEXT,
    }
    for tokenizer, text in read.items():
        assert tokenizer(TEXT)["input_ids"] == list(text.encode())
        assert tokenizer.decode(list(TEXT.encode())) == TEXT
        assert tokenizer.decode(list(range(256))) == bytes(range(256)).decode(errors="replace")
        special = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
        assert special == (257, 256, 256, None)
        assert len(tokenizer) == 258
        assert tokenizer(["ab", "c"], padding=True)["input_ids"] == [[97, 98], [99, 256]]
    ours = MaskedLM.from_pretrained(folder).tokenizer
    assert ours is not None
    assert ours.encode(TEXT) == list(TEXT.encode())


def test_special_numbers_beyond_the_bytes(tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(saved(tmp_path, vocab_size=400, mask=300, pad=0, bos=299))
    # Padding 0 is a byte, which the file leaves one.
    assert (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (300, None, 299)
    assert tokenizer("a\x00")["input_ids"] == [97, 0]


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    """An adapter of stock peft on the stock network, its updates not nil."""
    network: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    place = folder.parent / "adapter"
    network.save_pretrained(place)
    return place


@torch.no_grad()
def test_adapters_are_merged(folder: Path, adapter: Path) -> None:
    tokens = torch.arange(12)[None]
    theirs: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, is_causal=False), adapter)
    expected = theirs(input_ids=tokens).logits
    ours = MaskedLM.from_pretrained(adapter)
    found = ours.logits(ours.hidden(tokens))
    base = MaskedLM.from_pretrained(folder)
    assert not torch.allclose(found, base.logits(base.hidden(tokens)), atol=1e-3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(parameter.requires_grad and "lora" not in name for name, parameter in ours.named_parameters())
    assert ours.tokenizer is not None


def test_adapters_are_read_strictly(adapter: Path, tmp_path: Path) -> None:
    def refused(change: Any) -> str:
        for file in adapter.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        change(tmp_path)
        with pytest.raises(UsageError) as said:
            MaskedLM.from_pretrained(tmp_path)
        return str(said.value)

    def tensors(change: Any) -> Any:
        def apply(place: Path) -> None:
            state = load_file(place / "adapter_model.safetensors")
            save_file(change(state), place / "adapter_model.safetensors")

        return apply

    def settings(old: str, new: str) -> Any:
        def apply(place: Path) -> None:
            file = place / "adapter_config.json"
            text = file.read_text()
            assert old in text
            file.write_text(text.replace(old, new))

        return apply

    assert "missing" in refused(tensors(lambda state: dict(list(state.items())[1:])))
    assert "extra" in refused(tensors(lambda state: {**state, "base_model.model.other.lora_A.weight": torch.ones(1)}))
    assert "does not fit" in refused(tensors(lambda state: {name: value[:1] for name, value in state.items()}))
    assert "NaN" in refused(tensors(lambda state: {name: value * torch.nan for name, value in state.items()}))
    assert "only LORA" in refused(settings('"LORA"', '"IA3"'))
    assert "names no network" in refused(settings("base_model_name_or_path", "other"))
    assert "has no adapter_model.safetensors" in refused(lambda place: (place / "adapter_model.safetensors").unlink())
