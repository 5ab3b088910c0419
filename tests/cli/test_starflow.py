"""STARFlow from the command line: what is refused, in one sentence each, and what is printed."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tenfold import hub
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.starflow.model import StarFlow
from tenfold.training.streams import Draws, index_of
from tests.starflow.helpers import random_flow, small_config

SMALL = ("--train.steps", "2", "--train.tracker", "none")


@pytest.fixture
def autoencoder(tmp_path):
    folder = tmp_path / "autoencoder"
    hub.save_pretrained(Autoencoder(AutoencoderConfig(latent_channels=2, widths=(8, 8), norm_groups=4)), folder)
    return folder


@pytest.fixture
def text_model(tmp_path, autoencoder):
    def made(dim):
        flow = StarFlow(small_config(shape=(2, 4, 4), text_tokens=3, text_dim=dim))
        recipe = {"data": {"autoencoder": str(autoencoder), "text": {"source": "minilm", "tokens": 3}}}
        hub.save_pretrained(flow, tmp_path / "text", {"name": "text-model", "recipe": recipe})
        return tmp_path / "text"

    return made


@pytest.fixture
def class_model(tmp_path, autoencoder):
    flow = random_flow(small_config(shape=(2, 4, 4), classes=3)).float()
    recipe = {"data": {"autoencoder": str(autoencoder)}}
    hub.save_pretrained(flow, tmp_path / "classes", {"name": "class-model", "recipe": recipe})
    return tmp_path / "classes"


def test_sampling_from_a_model_folder(tenfold, class_model, tmp_path):
    options = ("--num", "2", "--class", "1", "--guidance", "2", "--ratio", "2:3", "--decoder", "plain", "--json")
    done = tenfold("sample", class_model, "--out", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert json.loads(done.out)["files"][1].endswith("samples.npz")
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        assert arrays["values"].shape == (2, 1, 10, 6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--ratio", "7:5"), "unknown aspect ratio '7:5'; the nearest is '3:2'"),
        (("--class", "3"), "class 3 is outside [0, 3)"),
        (("--text", "a seven"), "takes no text"),
        (("--guidance", "-1"), "guidance is -1.0"),
        (("--decoder", "fine"), "--decoder is 'fine'; expected one of auto, plain, denoise"),
        (("--rule", "mean"), "--rule is 'mean'"),
        (("--autoencoder", "nowhere/else/at/all"), "neither a model folder nor a hub id"),
    ],
)
def test_sampling_options_that_do_not_fit(refused, class_model, options, sentence):
    assert sentence in refused("sample", class_model, "--num", "1", *options)


def test_latents_of_another_autoencoder(refused, class_model, tmp_path):
    other = tmp_path / "other"
    hub.save_pretrained(Autoencoder(AutoencoderConfig(latent_channels=3, widths=(8, 8), norm_groups=4)), other)
    sentence = refused("sample", class_model, "--num", "1", "--autoencoder", other)
    assert "latents have 2 channels, but the autoencoder's have 3" in sentence


@pytest.mark.parametrize(
    ("dim", "text", "sentence"),
    [
        (384, "one two three four five six seven", "has 9 tokens, more than the encoder's 3"),
        # The text encoder that the folder names gives wider vectors than the flow reads.
        (5, "a", "(batch, tokens, 5)"),
    ],
)
def test_texts_that_do_not_fit(tenfold, text_model, dim, text, sentence):
    done = tenfold("sample", text_model(dim), "--num", "1", "--text", text)
    # Reading the text encoder may take so long that a line about it comes first.
    last = done.err.splitlines()[-1]
    assert (done.code, done.out) == (2, "")
    assert last.startswith("tenfold: ")
    assert sentence in last


def test_training_without_an_autoencoder(refused, tmp_path):
    sentence = refused("train", "starflow-mnist-flow", "--out", tmp_path / "run", *SMALL)
    assert "there is no autoencoder for the flow's latents; set --data.autoencoder" in sentence
    assert not (tmp_path / "run").exists()


def test_mismatched_latent_channels(refused, autoencoder, tmp_path):
    sentence = refused(
        *("train", "starflow-mnist-flow", "--out", tmp_path / "run", "--data.autoencoder", autoencoder, *SMALL),
        *("--data.images.source", "digits", "--data.images.levels", "17"),
        *("--data.images.validation", "10", "--data.images.test", "10"),
    )
    assert "have 2 channels, but the flow expects 4" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--flow.model.patch", "2"), "7x7 cannot be cut into 2x2 patches"),
        (("--flow.model.deep.kv_heads", "3"), "2 heads cannot share 3 key-value heads"),
        (("--flow.model.deep.head_size", "16"), "deep.head_size is 16"),
        (("--flow.model.deep.head_sizes", "16"), "did you mean"),
        (("--flow.model.order", "UP"), "--flow.model.order is 'UP'; expected one of L2R, R2L"),
        (("--flow.objective.sigma", "-1"), "sigma is -1.0"),
        (("--flow.evaluation.guidance", "-1"), "guidance is (-1.0,)"),
        (("--flow.data.text.tokens", "0"), "tokens is 0"),
        (("--autoencoder.model.scale_factor", "0"), "scale_factor is 0.0"),
    ],
)
def test_settings_that_do_not_fit(refused, tmp_path, options, sentence):
    assert sentence in refused("train", "starflow-mnist", "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_converting_an_autoencoder_as_a_flow(refused, tmp_path):
    save_file({"encoder.conv_in.weight": torch.zeros(2, 2)}, tmp_path / "vae.safetensors")
    sentence = refused("convert", "starflow", tmp_path / "vae.safetensors", tmp_path / "out")
    assert "this is no STARFlow checkpoint" in sentence
    assert not (tmp_path / "out").exists()


def test_dry_runs(tenfold):
    published = json.loads(tenfold("train", "starflow-imagenet256", "--dry-run", "--json").out)
    assert 1.4e9 < published["parameters"] < 1.45e9  # published: 1.4 billion
    text = json.loads(tenfold("train", "starflow-text256", "--dry-run", "--json").out)
    assert 3.7e9 < text["parameters"] < 3.9e9  # published: 3.8 billion
    stages = json.loads(tenfold("train", "starflow-mnist", "--dry-run", "--json").out)
    assert stages["flow"]["tokens"] == 49
    assert stages["autoencoder"]["latent_channels"] == 4


def test_convert_lists_the_options_of_a_system(tenfold):
    done = tenfold("convert", "starflow", "--help")
    assert done.code == 0
    assert "--text-tokens" in done.out
    assert "--height" not in done.out


def test_scores_of_images(tenfold, class_model, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    done = tenfold("score", class_model, tmp_path / "images.npy", "--draws", "2", "--out", tmp_path / "s.json")
    assert done.code == 0, done.err
    assert "p averaged over 3 classes" in done.out
    found = json.loads((tmp_path / "s.json").read_text())
    flow = hub.from_pretrained(StarFlow, class_model)
    config = json.loads((class_model / "config.json").read_text())
    autoencoder = hub.from_pretrained(Autoencoder, config["recipe"]["data"]["autoencoder"])
    with torch.no_grad():
        latents = autoencoder.encode(torch.from_numpy(images) / 127.5 - 1)
        expected = torch.zeros(3)
        for k in range(2):
            noise = Draws(0, k).normal("noise", index_of(images), tuple(latents.shape[1:]))
            each = [flow.log_prob(latents + 0.3 * noise, torch.full((3,), c)) for c in range(3)]
            expected += (torch.stack(each).logsumexp(0) - np.log(3)) / 2
    row = {row["name"]: row["log_prob"] for row in found["scores"]}
    assert sorted(row.values()) == pytest.approx(sorted(expected.tolist()), rel=1e-4)
    assert found["scores"][0]["latent_nll"] == pytest.approx(-found["scores"][0]["log_prob"] / 32)
    one = tenfold("score", class_model, tmp_path / "images.npy", "--class", "1", "--json")
    assert "given class 1" in json.loads(one.out)["note"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--class", "3"), "class 3 is outside [0, 3)"),
        (("--text", "a seven"), "takes no text"),
        (("--draws", "0"), "draws is 0"),
    ],
)
def test_what_scoring_refuses(refused, class_model, tmp_path, options, words):
    np.save(tmp_path / "images.npy", np.zeros((1, 1, 8, 8), np.uint8))
    assert words in refused("score", class_model, tmp_path / "images.npy", *options)


def test_an_autoencoder_of_other_latents_is_refused(refused, class_model, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((1, 1, 8, 8), np.uint8))
    wide = Autoencoder(AutoencoderConfig(latent_channels=3, widths=(8, 8), norm_groups=4))
    hub.save_pretrained(wide, tmp_path / "wide")
    said = refused("score", class_model, tmp_path / "images.npy", "--autoencoder", tmp_path / "wide")
    assert "makes latents of 3 channels, but the flow reads 2" in said


def test_images_of_another_size_are_refused(refused, class_model, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((1, 1, 9, 8), np.uint8))
    assert "reads (N, 1, 8, 8)" in refused("score", class_model, tmp_path / "images.npy")
