"""The autoencoder and the decoder on the command line: every verb, and what users get wrong."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tenfold import api
from tenfold.api import catalogue
from tests.starflow.autoencoder.published import diffusers_folder, small

pytestmark = pytest.mark.long

QUICK = [
    *("--data.source", "digits", "--data.levels", 17, "--data.validation", 20, "--data.test", 60),
    *("--train.steps", 2, "--train.batch_size", 8, "--train.tracker", "none", "--train.threads", 1),
]
SMALL = [*QUICK, "--model.widths", "8,16", "--objective.scale_images", 64]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small autoencoder, without its evaluation."""
    from tenfold.cli.main import main

    folder = tmp_path_factory.mktemp("runs") / "a"
    assert main([str(a) for a in ("train", "autoencoder-mnist", "--out", folder, "--skip-evaluation", *SMALL)]) == 0
    return folder


def test_from_images_to_a_decoder(tenfold, run: Path, tmp_path: Path) -> None:
    done = tenfold("evaluate", run, "--evaluation.fid", "false", "--evaluation.sigma", 0.5, "--json")
    assert done.code == 0, done.err
    splits = {row["split"] for row in json.loads(done.out)["metrics"]}
    assert {"test", "test, latent noise 0.5", "test, channel 3"} <= splits
    done = tenfold("report", run)
    assert done.code == 0, done.err
    assert "as they are rebuilt from their latents" in (run / "report.html").read_text()
    autoencoder = api.load(run)
    assert autoencoder.encode(torch.zeros(1, 1, 8, 8)).shape == (1, 4, 4, 4)
    start = ["--objective.start", run, "--evaluation.fid", "false"]
    done = tenfold("train", "decoder-mnist", "--out", tmp_path / "d", *QUICK, *start, "--json")
    assert done.code == 0, done.err
    models = {row["model"] for row in json.loads(done.out)["metrics"]}
    assert models == {"decoder-mnist", "plain decoder"}
    assert json.loads((tmp_path / "d" / "model" / "config.json").read_text())["tenfold"]["sigma"] == 0.3
    assert torch.equal(api.load(tmp_path / "d").encoder.conv_in.weight, autoencoder.encoder.conv_in.weight)
    done = tenfold("train", "--resume", tmp_path / "d", "--train.steps", 3, "--skip-evaluation")
    assert done.code == 0, done.err


def test_components_are_no_systems(tenfold) -> None:
    done = tenfold("list", "--json")
    content = json.loads(done.out)
    assert "autoencoder" not in {system["name"] for system in content["systems"]}
    assert {"autoencoder-mnist", "decoder-mnist"} <= {recipe["name"] for recipe in content["recipes"]}
    assert not set(catalogue.ten()) & {name for name, s in catalogue.systems().items() if s.part_of}
    assert catalogue.plain("autoencoder").system == "autoencoder"


@pytest.mark.parametrize("name", ["task", "model"])
@pytest.mark.parametrize("system", ["autoencoder", "decoder"])
def test_parts(system: str, name: str) -> None:
    known = catalogue.system(system)
    assert isinstance({"task": known.task, "model": known.model}[name](), type)


def test_a_dry_run(tenfold, run: Path) -> None:
    done = tenfold("train", "autoencoder-mnist", "--dry-run", "--json")
    facts = json.loads(done.out)
    assert (facts["latent_height"], facts["latent_width"]) == (7, 7)
    done = tenfold("train", "decoder-mnist", "--dry-run", "--json", "--objective.start", run, "--data.source", "digits")
    facts = json.loads(done.out)
    assert 0 < facts["trained_parameters"] < facts["parameters"]


class TestConvert:
    def test_a_folder(self, tenfold, tmp_path: Path) -> None:
        expected = small()
        source = diffusers_folder(tmp_path / "a", expected)
        done = tenfold("convert", "autoencoder", source, tmp_path / "out", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["config"]["scale_factor"] == 0.5
        x = torch.rand(1, 3, 8, 8)
        assert torch.equal(api.load(tmp_path / "out").encode(x), expected.encode(x))
        assert "objective" not in json.loads((tmp_path / "out" / "config.json").read_text())

    def test_a_file(self, tenfold, tmp_path: Path) -> None:
        save_file(dict(small().state_dict()), tmp_path / "a.safetensors")
        settings = ["--scale-factor", 0.5, "--shift-factor", 0.25, "--norm-groups", 4, "--sigma", 0.3]
        done = tenfold("convert", "autoencoder", tmp_path / "a.safetensors", tmp_path / "out", *settings)
        assert done.code == 0, done.err
        assert "scale_factor 0.5" in done.out
        assert api.load(tmp_path / "out").config == small().config
        assert json.loads((tmp_path / "out" / "config.json").read_text())["tenfold"]["sigma"] == 0.3

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"_class_name": "VQModel"}, ["is of class VQModel", "only AutoencoderKL"]),
            ({"scaling_factor": 0}, ["scale_factor is 0.0", "above 0"]),
            ({"norm_num_groups": 3}, ["width 8", "3 groups"]),
        ],
        ids=["family", "scale", "groups"],
    )
    def test_folders_that_do_not_fit(self, refused, tmp_path: Path, changes: dict, words: list[str]) -> None:
        source = diffusers_folder(tmp_path / "a", small(), **changes)
        message = refused("convert", "autoencoder", source, tmp_path / "out")
        assert [w for w in words if w not in message] == [], message
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ([], ["no config.json beside it", "0.18215"]),
            (["--norm-groups", 4, "--scale-factor", 0], ["scale_factor is 0.0", "above 0"]),
            (["--norm-groups", 4, "--scale-factor", ".nan"], ["scale_factor is nan"]),
            (["--scale-factor", "big"], ["--scale-factor is 'big'; expected a number"]),
            (["--scale-factor", 1, "--height", 8], ["there is no option '--height'"]),
            (["--scale-factor", 1, "--norm-groups", 5], ["width 8", "5 groups"]),
        ],
        ids=["none", "zero", "nan", "type", "foreign", "groups"],
    )
    def test_options(self, refused, tmp_path: Path, options: list, words: list[str]) -> None:
        save_file(dict(small().state_dict()), tmp_path / "a.safetensors")
        message = refused("convert", "autoencoder", tmp_path / "a.safetensors", tmp_path / "out", *options)
        assert [w for w in words if w not in message] == [], message

    def test_no_source(self, refused, tmp_path: Path) -> None:
        assert "neither a model folder nor a hub id" in refused(
            "convert", "autoencoder", tmp_path / "no", tmp_path / "o"
        )

    def test_an_option_of_another_system(self, refused, tmp_path: Path) -> None:
        torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
        message = refused("convert", "tarflow", tmp_path / "a.pth", tmp_path / "o", "--scale-factor", 2)
        assert "there is no option '--scale-factor'" in message

    def test_a_decoder_is_no_published_kind(self, refused, tmp_path: Path) -> None:
        message = refused("convert", "decoder", tmp_path / "x", tmp_path / "o")
        assert "no published checkpoints can be read for 'decoder'" in message


TRAINING = {
    "size": (["--data.source", "digits", "--model.widths", "8,8,8,8,8"], ["8x8", "multiples of 16", "--data.height"]),
    "channels": (["--model.channels", 3], ["1 channels", "reads 3", "--model.channels"]),
    "scale": (["--model.scale_factor", 0], ["scale_factor is 0", "above 0"]),
    "groups": (["--model.widths", "8,20"], ["width 20", "8 groups"]),
    "pixel": (["--reconstruction.pixel", "l3"], ["'l3'", "l1, l2"]),
    "weight": (["--reconstruction.adversarial_weight", -1], ["adversarial_weight is -1", "at least 0"]),
    "nothing": (["--reconstruction.pixel_weight", 0], ["nothing asks for a faithful image"]),
    "perceptual": (["--reconstruction.perceptual", "nowhere"], ["perceptual is 'nowhere'", "saved classifier"]),
    "kl": (["--objective.kl_weight", -1], ["kl_weight is -1"]),
    "patches": (
        ["--reconstruction.adversarial_weight", 1, "--reconstruction.discriminator_layers", 3],
        ["8x8 are too small", "--reconstruction.discriminator_layers"],
    ),
}


@pytest.mark.parametrize("case", TRAINING)
def test_settings_of_an_autoencoder(refused, tmp_path: Path, case: str) -> None:
    arguments, words = TRAINING[case]
    message = refused("train", "autoencoder-mnist", "--out", tmp_path / "run", *QUICK, *arguments)
    assert [w for w in words if w not in message] == [], message
    assert not (tmp_path / "run").exists()


class TestDecoder:
    def test_no_start(self, refused, tmp_path: Path) -> None:
        message = refused("train", "decoder-mnist", "--out", tmp_path / "run", *QUICK)
        assert "set --objective.start" in message
        assert not (tmp_path / "run").exists()

    def test_a_start_that_is_not_there(self, refused, tmp_path: Path) -> None:
        message = refused("train", "decoder-mnist", "--objective.start", tmp_path / "none", "--out", tmp_path / "run")
        assert "neither a model folder nor a hub id" in message

    def test_a_start_of_another_family(self, refused, tmp_path: Path) -> None:
        source = diffusers_folder(tmp_path / "a", small(), _class_name="AutoencoderTiny")
        assert "is of class AutoencoderTiny" in refused("train", "decoder-mnist", "--objective.start", source)

    def test_images_of_another_kind(self, refused, tmp_path: Path) -> None:
        source = diffusers_folder(tmp_path / "a", small())
        message = refused("train", "decoder-mnist", "--objective.start", source, *QUICK)
        assert "the images have 1 channels, but the autoencoder reads 3" in message

    @pytest.mark.parametrize("sigma", ["0", "-1", "nan"])
    def test_sigma(self, refused, sigma: str) -> None:
        assert "sigma is " in refused("train", "decoder-mnist", "--objective.sigma", sigma)


def test_there_is_nothing_to_sample(refused, run: Path) -> None:
    for source in (run, run / "model"):
        message = refused("sample", source)
        assert "autoencoder has no sampling" in message
        assert "starflow" in message
