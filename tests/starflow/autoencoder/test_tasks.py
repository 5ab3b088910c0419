"""What is particular to an autoencoder's training (its scale), and to a decoder's (its frozen encoder)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tenfold import hub
from tenfold.errors import TenfoldError, UsageError
from tenfold.nn.autoencoder import Autoencoder
from tenfold.runs.run_folder import RunFolder
from tenfold.starflow.autoencoder.latents import first_images, measured_scale
from tenfold.starflow.autoencoder.task import AutoencoderTask
from tenfold.starflow.autoencoder.task import AutoencoderTask as DecoderTask
from tests.starflow.autoencoder.recipes import MODEL, autoencoder_recipe, batch_of, decoder_recipe, run, updates_of
from tests.training.toys import weights

FROZEN = ("encoder.", "quant_conv.")


class TestDecoder:
    def test_the_encoder_is_frozen(self, start: Path, tmp_path: Path) -> None:
        task = DecoderTask(decoder_recipe(start))
        before = load_file(next(start.glob("*.safetensors")))
        optimized = {id(p) for g in task.optimizers(task.modules())["autoencoder"].param_groups for p in g["params"]}
        run(tmp_path, task)
        after = weights(tmp_path)
        assert set(after) == set(before)
        for name, tensor in after.items():
            assert torch.equal(tensor, before[name]) == name.startswith(FROZEN), name
        for name, parameter in task.autoencoder.named_parameters():
            assert (id(parameter) in optimized) != name.startswith(FROZEN), name

    def test_the_model_folder_says_the_noise_and_keeps_the_scale(self, start: Path, tmp_path: Path) -> None:
        run(tmp_path, DecoderTask(decoder_recipe(start, train={"steps": 1}), "mine"))
        file = hub.read_config(tmp_path / "model")
        assert (file["model_type"], file["sigma"], file["name"]) == ("autoencoder", 0.4, "mine")
        assert (file["config"]["scale_factor"], file["config"]["shift_factor"]) == (2.0, 0.1)

    def test_the_computation_is_decoding_of_noisy_scaled_latents(self, start: Path) -> None:
        task = DecoderTask(decoder_recipe(start))
        autoencoder = hub.from_pretrained(Autoencoder, start)
        x, noise = torch.rand(2, 1, 8, 8), torch.randn(2, 4, 4, 4)
        expected = autoencoder.decode(autoencoder.encode(x) + 0.4 * noise)
        assert torch.allclose(task.decoding(x, noise), expected, atol=1e-6)

    def test_no_start(self) -> None:
        with pytest.raises(UsageError, match=r"no autoencoder to start from; set --objective\.start"):
            DecoderTask(decoder_recipe("")).train_source()

    def test_the_baseline_needs_the_start(self, start: Path, tmp_path: Path) -> None:
        hub.save_pretrained(hub.from_pretrained(Autoencoder, start), tmp_path / "gone")
        run(tmp_path / "run", DecoderTask(decoder_recipe(tmp_path / "gone", train={"steps": 1})))
        (tmp_path / "gone").rename(tmp_path / "elsewhere")
        task = DecoderTask(decoder_recipe(tmp_path / "gone"))
        task.load(tmp_path / "run" / "model")
        with pytest.raises(UsageError, match=r"it is the baseline, which --evaluation\.baselines false leaves out"):
            task.evaluate()
        task = DecoderTask(decoder_recipe(tmp_path / "gone", evaluation={"baselines": False}))
        task.load(tmp_path / "run" / "model")
        assert {row.model for row in task.evaluate()} == {"decoder"}


class TestAutoencoder:
    def test_the_exported_scale_makes_unit_latents(self, tmp_path: Path) -> None:
        task = AutoencoderTask(autoencoder_recipe(train={"steps": 3}, objective={"scale_images": 300}))
        run(tmp_path, task)
        autoencoder = hub.from_pretrained(Autoencoder, tmp_path / "model")
        images = first_images(task.splits.train, 300).float() / 8 - 1
        latents = autoencoder.encode(images).detach()
        assert float(latents.mean()) == pytest.approx(0, abs=1e-4)
        assert float(latents.std(correction=0)) == pytest.approx(1, abs=1e-4)
        assert autoencoder.config.scale_factor != 1.0
        again = AutoencoderTask(task.recipe)
        again.load(tmp_path / "model")
        assert again.autoencoder.config == autoencoder.config
        with pytest.raises(UsageError, match=r"but this run's is AutoencoderConfig\(.*widths=\(16, 16\)"):
            AutoencoderTask(autoencoder_recipe(model={"widths": (16, 16)})).load(tmp_path / "model")

    def test_latents_without_variation_are_refused(self) -> None:
        with pytest.raises(TenfoldError, match=r"standard deviation 0, so that they say nothing; lower"):
            measured_scale(torch.full((3, 4, 2, 2), 0.7), MODEL)

    def test_kl_weight(self) -> None:
        losses = []
        for weight in (0.0, 0.5):
            task = AutoencoderTask(autoencoder_recipe(objective={"kl_weight": weight}))
            losses.append(updates_of(task, batch_of(task, [0, 1]), 0)[0])
        kl = float(losses[0].metrics["kl"])
        assert float((losses[1].loss - losses[0].loss).detach()) == pytest.approx(0.5 * kl, rel=1e-5)

    def test_a_stream_has_first_images_too(self) -> None:
        class Stream:
            lanes = 3

            def read(self, lane: int, start: int) -> Iterator[int]:
                yield from range(100 * lane + start, 100 * lane + 100)

            def collate(self, records: list[int]) -> dict[str, torch.Tensor]:
                return {"image": torch.tensor(records)}

        assert first_images(Stream(), 5).tolist() == [0, 1, 100, 101, 200]

    def test_it_learns_more_than_the_mean_image(self, tmp_path: Path) -> None:
        task = AutoencoderTask(
            autoencoder_recipe(
                train={"steps": 60, "batch_size": 32, "learning_rate": 1e-2, "clip": None},
                reconstruction={"adversarial_weight": 0.0},
            )
        )
        run(tmp_path, task)
        seen, held_out = (split.images.float() / 8 - 1 for split in (task.splits.train, task.splits.validation))
        found = RunFolder(tmp_path).read_metrics()[-1]
        assert found["kind"] == "validation"
        assert found["pixel"] < 0.9 * float((held_out - seen.mean(dim=0)).square().mean())
