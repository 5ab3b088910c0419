"""What ``load`` gives back, and what it says of folders of other programs."""

import json
from pathlib import Path

import pytest
import torch

import tenfold
from tenfold.errors import UsageError
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig


@pytest.fixture(scope="module")
def flow() -> tenfold.TarFlow:
    return tenfold.TarFlow(tenfold.TarFlowConfig(shape=(1, 4, 4), patch=2, width=16, blocks=2, layers=1, head_size=8))


def test_a_kind_is_what_comes_back_or_is_refused(flow: tenfold.TarFlow, tmp_path: Path) -> None:
    flow.save_pretrained(tmp_path, {"name": "mine"})
    found = tenfold.load(tmp_path, tenfold.TarFlow)
    assert isinstance(found, tenfold.TarFlow)
    assert type(tenfold.load(tmp_path)) is tenfold.TarFlow
    again = tenfold.TarFlow.from_pretrained(tmp_path)
    x = torch.zeros(2, 1, 4, 4)
    assert torch.equal(found.log_prob(x), flow.eval().log_prob(x))
    assert torch.equal(again.log_prob(x), flow.log_prob(x))
    assert not again.training
    (tmp_path / "model.safetensors").unlink()  # another kind is refused before weights are read
    with pytest.raises(UsageError, match="holds a TarFlow, but StarFlow is asked for"):
        tenfold.load(tmp_path, tenfold.StarFlow)
    with pytest.raises(UsageError, match="'TarFlow' is asked for"):
        tenfold.load(tmp_path, "TarFlow")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="expected 'starflow'"):
        tenfold.StarFlow.from_pretrained(tmp_path)


def test_an_autoencoder_has_one_folder_for_two_libraries(tmp_path: Path) -> None:
    autoencoder = Autoencoder(AutoencoderConfig(widths=(8, 8), norm_groups=4, scale_factor=0.5)).eval()
    autoencoder.save_pretrained(tmp_path, {"levels": 17})
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["_class_name"] == "AutoencoderKL"
    assert written["scaling_factor"] == 0.5
    assert written["tenfold"]["levels"] == 17
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    x = torch.zeros(1, 1, 8, 8)
    assert torch.equal(tenfold.load(tmp_path, Autoencoder).encode(x), autoencoder.encode(x))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": {"_class_name": "AutoencoderKL"}}, "'tenfold convert autoencoder PLACE OUT_DIR'"),
        ({"model_index.json": {"_class_name": "StableDiffusionPipeline"}}, "convert autoencoder"),
        ({"config.json": {"model_type": "qwen2"}}, "'tenfold convert masked-lm PLACE OUT_DIR'"),
        ({"config.json": {"model_type": "bert"}}, "convert SYSTEM PLACE OUT_DIR', if SYSTEM is tarflow, "),
        ({"adapter_config.json": {"peft_type": "LORA"}}, "MaskedLM.from_pretrained"),
        ({"other.txt": {}}, "neither a run nor a model folder"),
    ],
)
def test_folders_of_other_programs_are_told_the_way(tmp_path: Path, files: dict[str, object], said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UsageError) as refusal:
        tenfold.load(tmp_path)
    assert said.replace("PLACE", str(tmp_path)) in str(refusal.value)


def test_files_are_told_the_way(tmp_path: Path) -> None:
    file = tmp_path / "flow.pth"
    file.write_bytes(b"")
    with pytest.raises(UsageError, match=r"is a file, not a run .*'tenfold convert SYSTEM .*flow\.pth OUT_DIR'"):
        tenfold.load(file)
