"""A latent flow from images to samples: stages, cache, resuming, measurements, pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tenfold
from tenfold import api
from tenfold.errors import UsageError
from tenfold.settings.changes import change
from tenfold.starflow.generator import ImageGenerator

pytestmark = pytest.mark.long

DIGITS = {"source": "digits", "levels": 17, "validation": 20, "test": 60, "height": 0, "width": 0}
SHORT = {"steps": 4, "batch_size": 16, "validate_every": 2, "checkpoint_every": 2, "tracker": "none", "threads": 1}
LAYER = {"width": 32, "head_size": 32, "dropout": 0.0}
MEASURED = {"samples": 60, "guidance": [0.0, 2.0], "images": 60, "timing": 2, "draws": 2, "calibrate": 4}
PIPELINE = {
    "autoencoder": {"train": SHORT, "data": DIGITS, "model": {"widths": [8, 8], "norm_groups": 4}},
    "flow": {
        "train": SHORT,
        "model": {"shape": [4, 4, 4], "layers": [1, 1], "shallow": LAYER, "deep": LAYER},
        "data": {"images": DIGITS},
        "evaluation": MEASURED,
    },
    "decoder": {"train": SHORT, "data": DIGITS, "reconstruction": {"perceptual": ""}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.train("starflow-mnist", tmp_path_factory.mktemp("runs") / "digits", **PIPELINE)


def test_stages_are_runs_of_their_own(run):
    for stage in ("autoencoder", "flow", "decoder"):
        folder = run.path / stage
        for name in ("config.yaml", "model/config.json", "evaluation.json", "report.html", "metrics.jsonl"):
            assert (folder / name).exists(), name
    assert json.loads((run.path / "latents" / "train" / "latents.json").read_text())["count"] == 1717
    # All rows in one place, and one page about all of it.
    main, *others = [stage.measurements for stage in api.open_run(run).main_first]
    assert run.measurements[: len(main)] == main
    # What a later stage measured again is there once, and nothing else is lost.
    noisy = [r for r in run.measurements if r.name == "reconstruction_psnr" and r.split == "test, latent noise 0.3"]
    assert len({round(row.value, 4) for row in noisy}) == len(noisy) == 3
    for row in (row for stage in others for row in stage):
        assert any((r.name, r.split) == (row.name, row.split) and r.value == pytest.approx(row.value, rel=1e-3)
                   for r in run.measurements)  # fmt: skip
    page = (run.path / "report.html").read_text()
    assert page.index("starflow") < page.index("decoder")
    assert "data:image/png" in page


def test_measurements(run):
    rows = api.open_run(run).main.measurements
    found = {(row.name, row.model, row.split) for row in rows}
    for split in ("no guidance", "guidance 2, rule starflow", "guidance 2, rule tarflow"):
        assert {("class_accuracy", "starflow", split), ("diversity", "starflow", split)} <= found
    noise = "test, latent noise 0.3"
    for way in ("plain decoder", "score step, plain decoder", "fine-tuned decoder"):
        assert {("reconstruction_psnr", way, noise), ("fid", way, noise)} <= found
    likelihoods = {(row.model, row.note.split("; ")[1]): row.value for row in rows if row.name == "latent_nll"}
    assert likelihoods.keys() >= {("starflow", "averaged over the classes"), ("starflow", "log p(latent | condition)")}
    inversion = next(row.value for row in rows if row.name == "inversion_error")
    assert inversion < 1e-4
    pictures = {path.name for path in (run.path / "flow" / "figures").glob("*.png")}
    assert {"samples.png", "samples-starflow-2.png", "samples-tarflow-2.png", "decoders.png"} <= pictures


def test_the_gaussian_baseline_is_the_expectation_over_noise(run):
    from tenfold.starflow.evaluation import gaussian_row

    task = api.trained_task(api.open_run(run).main)
    row = gaussian_row(task.latents.train, task.latents.test, 0.3, "test")
    train, test = (
        source.batch(np.arange(len(source)))["latent"].flatten(1).double()
        for source in (task.latents.train, task.latents.test)
    )
    law = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T) + 0.09 * torch.eye(64))
    draw = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        [law.log_prob(test + 0.3 * torch.randn(test.shape, generator=draw, dtype=torch.float64)) for _ in range(200)]
    )
    assert row.value == pytest.approx(-float(drawn.mean()) / 64, abs=2e-3)


def test_resuming_does_nothing_twice_and_can_extend(run, tmp_path):
    copied = api.train("starflow-mnist", tmp_path / "run", evaluate=False, **PIPELINE)
    before = (copied.path / "autoencoder" / "model" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    flow = (copied.path / "flow" / "model" / "model.safetensors").read_bytes()
    # The same settings in another folder give the same weights.
    assert flow == (run.path / "flow" / "model" / "model.safetensors").read_bytes()
    api.resume(copied, evaluate=False)
    assert (copied.path / "flow" / "model" / "model.safetensors").read_bytes() == flow
    api.resume(copied, evaluate=False, flow={"train": {"steps": 6}})
    steps = [record["step"] for record in api.open_run(copied).main.folder.read_metrics()]
    assert max(steps) == 6
    assert (copied.path / "autoencoder" / "model" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns == before
    # A run that was moved is finished all the same.
    after = copied.path.with_name("moved")
    copied.path.rename(after)
    before = (after / "autoencoder" / "model" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    copied = api.resume(after, evaluate=False)
    assert (after / "autoencoder" / "model" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns == before
    assert max(record["step"] for record in api.open_run(copied).main.folder.read_metrics()) == 6
    other = {"objective": {"sigma": 0.2}}
    with pytest.raises(UsageError, match="cannot change"):
        api.resume(copied, evaluate=False, flow=other, decoder=other)


def test_loading_and_sampling(run, tmp_path):
    flow = tenfold.load(run)
    assert flow.sample(2, torch.tensor([1, 2])).shape == (2, 4, 4, 4)
    written = api.sample(run, tmp_path, num=3, classes=5, guidance=2.0)
    assert [path.name for path in written] == ["samples.png", "samples.npz", "samples.json"]
    with np.load(written[1]) as arrays:
        assert arrays["pixels"].shape == (3, 1, 8, 8)
        assert arrays["pixels"].max() <= 16
    for decoder in ("plain", "denoise"):
        api.sample(run, tmp_path / decoder, num=2, ratio="3:2", decoder=decoder)
    with np.load(tmp_path / "plain" / "samples.npz") as arrays:
        assert arrays["values"].shape == (2, 1, 6, 10)
    # A model folder says what decodes its latents.
    api.sample(run.path / "flow" / "model", tmp_path / "model", num=2)
    assert (run.path / "flow" / "model" / "calibration.json").exists()


def test_the_generator_decodes_in_three_ways(run):
    generator = api.trained_task(api.open_run(run).main).generator
    assert isinstance(generator, ImageGenerator)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    images = [generator.decode(latents, how=how) for how in ("auto", "plain", "denoise")]
    assert all(image.shape == (2, 1, 8, 8) for image in images)
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2])
    generator.decoder = None
    assert torch.equal(generator.decode(latents), images[2])


def test_data_that_do_not_fit(run, tmp_path):
    recipe = api.open_run(run).main.recipe
    for changes, sentence in (
        ({"model": {"shape": [3, 4, 4]}}, "the latents in .* have 4 channels, but the flow expects 3"),
        ({"model": {"shape": [4, 2, 2]}}, r"the latents are \(4, 4, 4\)"),
        ({"model": {"classes": 7}}, "the data have 10 classes, but the flow has 7"),
        (
            {"model": {"classes": 0, "text_tokens": 4, "text_dim": 8}},
            "the data have no captions, but the flow takes text",
        ),
        ({"data": {"autoencoder": ""}}, "no autoencoder"),
        ({"data": {"images": {"validation": 30}}}, "are of other images"),
    ):
        with pytest.raises(UsageError, match=sentence):
            api.make_task("starflow", change(recipe, changes)).train_source()
    assert not (Path(tmp_path) / "latents").exists()


def test_captions_too_long_are_told_before_images_are_encoded(run, tmp_path):
    changes = {
        "kind": "captioned",
        "captioned": {"samples": 20, "validation": 4, "test": 4, "most_digits": 2},
        "text": {"source": "minilm", "tokens": 8},
        "cache": str(tmp_path / "latents"),
    }
    recipe = change(api.open_run(run).main.recipe, {"data": changes})
    with pytest.raises(UsageError, match=r"has \d+ tokens, more than the encoder's 8; shorten it or set tokens to"):
        api.make_task("starflow", recipe).train_source()
    assert not (tmp_path / "latents").exists()


def test_sigma_of_flow_and_decoder_agree():
    with pytest.raises(UsageError, match=r"the flow's noise is 0.2 and the decoder removes 0.3"):
        change(tenfold.recipe("starflow-mnist"), {"flow": {"objective": {"sigma": 0.2}}})
