"""``tenfold sample`` and ``tenfold analyse`` on discrete diffusion, and the worked example."""

import json
from pathlib import Path

import torch

from tenfold.data.text.config import LETTERS
from tenfold.discrete_diffusion import DiffusionConfig, DiscreteDiffusion


def test_samples(tenfold, refused, tmp_path):
    torch.manual_seed(0)
    config = DiffusionConfig(alphabet=LETTERS, width=16, layers=1, heads=2, length=16)
    DiscreteDiffusion(config).save_pretrained(tmp_path / "model")
    options = ("--num", "2", "--steps", "4", "--kind", "first_hitting", "--per_call", "8")
    done = tenfold("sample", tmp_path / "model", *options, "--out", tmp_path / "s", "--json")
    assert done.code == 0, done.err
    text, record = (Path(file) for file in json.loads(done.out)["files"])
    assert [len(line) for line in text.read_text().splitlines()] == [16, 16]
    assert json.loads(record.read_text())["calls"] == 2
    again = tenfold("sample", tmp_path / "model", *options, "--out", tmp_path / "s")
    assert again.out.splitlines() == [*text.read_text().splitlines(), str(text), str(record)]
    assert "holds samples of an earlier run, which these replace" in again.err
    assert "needs a prompt" in refused("sample", tmp_path / "model", "--guidance", "1", "--template", "___")
    assert "did you mean 'ancestral'" in refused("sample", tmp_path / "model", "--kind", "ancestrl")
    assert "name its run" in refused("analyse", tmp_path / "model", "--out", tmp_path / "a")


def test_examples_are_named(refused):
    assert "did you mean 'tcsm-worlds'" in refused("analyse", "--example", "tcsm-world", "--out", "x")
    assert "name it, as in --example tcsm-worlds --out" in refused("analyse", "--example", "tcsm-worlds")
