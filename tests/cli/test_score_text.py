"""``tenfold score`` of text: bounds and exact likelihoods of files and lines."""

import json

import pytest
import torch

import tenfold as package
from tenfold.data.text.characters import encode
from tenfold.data.text.config import LETTERS, CharacterDataConfig
from tenfold.discrete_diffusion import (
    Autoregressive,
    AutoregressiveConfig,
    DiffusionConfig,
    DiscreteDiffusion,
    likelihood,
)
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.likelihood import mdm_nll
from tenfold.masked_lm.model import MaskedLM

SMALL = {"width": 32, "layers": 1, "heads": 2, "length": 16, "alphabet": LETTERS}
TEXT = "In the beginning God\ncreated the heaven\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    made = {
        "masked": DiscreteDiffusion(DiffusionConfig(**SMALL)),
        "left-to-right": Autoregressive(AutoregressiveConfig(**SMALL)),
        "numbers": DiscreteDiffusion(DiffusionConfig(**{**SMALL, "alphabet": ""})),
        "bytes": MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64)),
    }
    for name, model in made.items():
        model.eval().save_pretrained(folder / name)
    return folder, made


@pytest.fixture
def text(tmp_path):
    (tmp_path / "genesis.txt").write_text(TEXT)
    return tmp_path / "genesis.txt"


def test_lines_by_a_bound(tenfold, models, text, tmp_path):
    folder, made = models
    done = tenfold("score", folder / "masked", text, "--lines", "--draws", 4, "--out", tmp_path / "s.json")
    assert done.code == 0, done.err
    assert "minus the NELBO of the masked process, 4 draws" in done.out
    rows = json.loads((tmp_path / "s.json").read_text())["scores"]
    assert {row["name"] for row in rows} == {"genesis.txt:1: In the beginning God", "genesis.txt:2: created the heaven"}
    row = next(row for row in rows if "created" in row["name"])
    tokens = torch.from_numpy(encode("created the heaven", CharacterDataConfig()))
    exact = [likelihood.bound(made["masked"], part[None], 200).nats.item() for part in tokens.split(16)]
    assert row["log_prob"] == pytest.approx(-sum(exact), abs=6 * row["standard_error"])
    assert row["chars"] == 18


def test_a_file_from_left_to_right(models, text):
    folder, made = models
    found = package.score(folder / "left-to-right", text)
    tokens = torch.from_numpy(encode(TEXT, CharacterDataConfig()))
    expected = sum(made["left-to-right"].log_prob(part[None]).item() for part in tokens.split(16))
    assert found.names == ("genesis.txt",)
    assert found.values[0][0] == pytest.approx(expected, rel=1e-5)
    assert found.values[0][1] == 0


def test_a_masked_language_model_of_bytes(models):
    folder, made = models
    found = package.score(folder / "bytes", ["def add(a, b):"], draws=16)
    tokens = torch.tensor([list(b"def add(a, b):")])
    exact = mdm_nll(made["bytes"], tokens, 400)
    assert found.values[0][0] == pytest.approx(-exact.nats.item(), abs=6 * found.values[0][1])
    assert found.values[0][3] == 13  # the first byte is given


def test_a_model_of_numbers_reads_no_text(refused, models, text):
    assert "no tokenizer to read texts with" in refused("score", models[0] / "numbers", text)
