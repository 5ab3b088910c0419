"""Files of unknown origin: no code of theirs is run, and reading ends in a value or one sentence."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.data.captions.config import TextEncoderConfig
from tenfold.data.text.code import json_lines
from tenfold.data.text.reading import json_objects, lines_of
from tenfold.data.text.texts import read_texts
from tenfold.errors import TenfoldError, UsageError
from tenfold.masked_lm import MaskedLM, MaskedLMConfig, read_published
from tenfold.masked_lm.completion.batch_files import read_prompts, write_form
from tenfold.text.encoder import TextEncoder
from tenfold.text.tokenizer import find_tokenizer, read_tokenizer
from tests.text.tokenizers_of_kinds import save

CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Evil: pass\nclass EvilConfig: pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A masked model with a tokenizer in files."""
    config = MaskedLMConfig(
        width=32, layers=1, heads=2, intermediate=32, positions=32, vocab_size=300, tokenizer="files"
    )
    MaskedLM.from_config(config).save_pretrained(tmp_path / "model")
    return save("byte_fallback", tmp_path / "model")


READERS = {
    "model": MaskedLM.from_pretrained,
    "published": read_published,
    "tokenizer": lambda folder: find_tokenizer(str(folder), 1000),
    "dream": lambda folder: read_tokenizer(folder, "Dream"),
    "encoder": lambda folder: TextEncoder(TextEncoderConfig(str(folder), tokens=8)).encode(["a"]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_folder_is_not_run(folder: Path, reader: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # a question would be answered so
    (folder / "evil.py").write_text(CODE)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}} | (
        {} if known else {"tokenizer_class": "Evil"}
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {name: "evil.EvilConfig" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM")}
    (folder / "config.json").write_text(json.dumps(config | ({} if known else {"model_type": "evil"})))
    ends_well(lambda: READERS[reader](folder))
    assert not list(folder.rglob("ran"))
    assert not any("evil" in name for name in sys.modules)


def test_every_call_says_that_no_code_is_run() -> None:
    """Wherever the library chooses the class, and so might ask the folder for one."""
    calls = []
    for room in ("text", "masked_lm"):
        for file in Path("tenfold", room).rglob("*.py"):
            calls += re.findall(r"(?:Auto\w+|kind)\.from_pretrained\(([^()]*)\)", file.read_text())
    assert len(calls) >= 5
    assert all("trust_remote_code=False" in call or "**options" in call for call in calls)


def ends_well(read: Callable[[], object]) -> None:
    said = ""
    try:
        read()
    except TenfoldError as error:
        said = str(error)
    assert "\n" not in said


def broken(text: str) -> list[bytes]:
    """A JSON text cut, nested, bloated, and with values of other types."""
    raw = text.encode()
    found = [
        b"",
        b"\0",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + raw,
        raw[: len(raw) // 2],
        raw[:-2],
        b"[]",
        b"null",
        b"3",
        b'"x"',
    ]
    found += [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}',
        b"{" + b" " * 10**6,
    ]
    draw = random.Random(0)
    for _ in range(20):
        changed = json.loads(text)
        place = changed
        while isinstance(place, dict) and place:
            key = draw.choice(sorted(place))
            if not isinstance(place[key], dict) or not place[key] or draw.random() < 0.3:
                place[key] = draw.choice([None, -1, 0, 1.5, 10**30, "x", [], {}, True, [[1]], {"a": 1}, 10**400])
                break
            place = place[key]
        found.append(json.dumps(changed).encode())
    return found


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_folders_end_in_a_value_or_a_sentence(folder: Path, name: str) -> None:
    file = folder / name
    text = file.read_text() if file.exists() else json.dumps({"mask_token_id": 257, "eos_token_id": [1]})
    for content in broken(text):
        file.write_bytes(content)
        for reader in ("model", "tokenizer"):
            ends_well(partial(READERS[reader], folder))


def test_lines_end_in_a_value_or_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    line = json.dumps({"prompt": "a", "completion": "b", "text": "c", "task_id": 1, "suffix": None, "max_tokens": 3})
    readers = (
        lambda: list(lines_of(file)),
        lambda: list(json_objects(file)),
        lambda: list(json_lines(str(file))),
        lambda: read_prompts(file),
        lambda: write_form(file, tmp_path / "out", "bigcode"),
        lambda: read_texts(file, lines=True),
        lambda: read_texts(tmp_path),
    )
    for content in [*broken(line), b"\x1f\x8b", b"\x1f\x8b\x08\x00" + bytes(20), b"\n\n", b"\r", bytes(range(256))]:
        file.write_bytes(content)
        for read in readers:
            ends_well(read)


def test_too_much_for_the_memory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"prompt": "' + b"a" * 2**27)
    code = (
        "import resource\nfrom pathlib import Path\nfrom tenfold.data.text.reading import json_objects\n"
        "from tenfold.errors import UsageError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**27, 2**27))\n"
        "try:\n    list(json_objects(Path('x.jsonl')))\nexcept UsageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("x.jsonl cannot be read: MemoryError")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused_when_they_are_read(folder: Path, bad: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name][3, 4] = bad
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for reader in ("model", "published"):
        with pytest.raises(UsageError, match=rf"{re.escape(name)} of .* holds NaN or infinity"):
            READERS[reader](folder)


def test_a_tokenizer_larger_than_its_embedding_is_refused(tmp_path: Path) -> None:
    config = MaskedLMConfig(
        width=32, layers=1, heads=2, intermediate=32, positions=32, tokenizer="files", vocab_size=258
    )
    MaskedLM.from_config(config).save_pretrained(tmp_path / "m")
    save("byte_fallback", tmp_path / "m")
    with pytest.raises(UsageError, match=r"has \d+ tokens, more than the model's 258"):
        MaskedLM.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("value", ["false", "true", False])
def test_the_shift_of_a_file_is_what_it_says(folder: Path, value: object) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"logit_shift": value}))
    assert MaskedLM.from_pretrained(folder).logit_shift is (value == "true")
    (folder / "config.json").write_text(json.dumps(settings | {"logit_shift": "maybe"}))
    with pytest.raises(UsageError, match=r"logit_shift of .* is 'maybe'; expected true or false"):
        MaskedLM.from_pretrained(folder)
