"""Model folders: round trips, and one sentence for everything that does not fit."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tenfold import hub
from tenfold.errors import TenfoldError, UsageError
from tenfold.tarflow import TarFlow, TarFlowConfig


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (3, 2)


@dataclass(frozen=True)
class ToyConfig:
    width: int
    inner: Inner = field(default_factory=Inner)
    scale: float | None = None


class Toy(nn.Module):
    model_type: ClassVar[str] = "toy"
    config_class: ClassVar[type] = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.width, config.inner.sizes[0])
        self.second = nn.Linear(config.inner.sizes[0], config.width)
        self.tied = nn.Linear(config.width, config.inner.sizes[0])
        self.tied.weight = self.first.weight
        self.register_buffer("seen", torch.tensor(5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hub.save_pretrained(Toy(ToyConfig(4, Inner((7, 1)), 0.5)), tmp_path / "m", {"levels": 17, "pair": (1, 2)})
    return tmp_path / "m"


def test_round_trip(folder: Path) -> None:
    first, second = hub.from_pretrained(Toy, folder), hub.from_pretrained(Toy, str(folder))
    assert first.config == ToyConfig(4, Inner((7, 1)), 0.5)
    assert isinstance(first.config.inner.sizes, tuple)
    assert not first.training
    saved = load_file(folder / "model.safetensors")
    assert set(saved) == set(first.state_dict())
    assert len(saved) == 7
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, saved[name])
        assert torch.equal(tensor, second.state_dict()[name])
    assert first.tied.weight is first.first.weight
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "toy"
    assert config["levels"] == 17
    assert config["pair"] == [1, 2]
    assert config["tenfold_version"]


def test_precision_of_the_file_is_kept(tmp_path: Path) -> None:
    model = Toy(ToyConfig(4)).double()
    hub.save_pretrained(model, tmp_path)
    assert torch.equal(hub.from_pretrained(Toy, tmp_path).first.weight, model.first.weight)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.pop("first.bias"), "missing first.bias"),
        (lambda t: t.update(third=torch.zeros(1)), "extra third"),
        (lambda t: t.update({"second.bias": torch.zeros(9)}), "second.bias of shape (9,) instead of (4,)"),
    ],
)
def test_tensors_that_do_not_fit_are_listed(folder: Path, change: Any, expected: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UsageError) as error:
        hub.from_pretrained(Toy, folder)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["config"].update(widht=3), "unknown field(s) widht; ToyConfig has width, inner, scale"),
        (lambda c: c["config"]["inner"].update(depth=3), "unknown field(s) depth; Inner has sizes"),
        (lambda c: c["config"].pop("width"), "lacks the field(s) width"),
        (lambda c: c["config"].update(scale="big"), "scale is 'big'; expected a number or none"),
        (lambda c: c["config"]["inner"].update(sizes=[1.5]), "inner: sizes is '1.5'; expected a list of whole numbers"),
        (lambda c: c.update(model_type="other"), "is of a 'other' model, expected 'toy'"),
        (lambda c: c.pop("config"), "lacks 'model_type' or 'config'"),
    ],
)
def test_configurations_that_do_not_fit(folder: Path, change: Any, expected: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError) as error:
        hub.from_pretrained(Toy, folder)
    assert expected in str(error.value)


def test_damaged_folders(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="truncated"):
        hub.from_pretrained(Toy, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="holds no weights"):
        hub.from_pretrained(Toy, folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        hub.from_pretrained(Toy, folder)
    with pytest.raises(UsageError, match="no model folder"):
        hub.from_pretrained(Toy, tmp_path)


def test_shards(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
    for shard, inside in shards.items():
        save_file({name: tensors[name] for name in inside}, folder / shard)
    index = {"weight_map": {name: shard for shard, inside in shards.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = hub.from_pretrained(Toy, folder)
    assert all(torch.equal(model.state_dict()[name], tensors[name]) for name in names)
    (folder / "b.safetensors").unlink()
    with pytest.raises(UsageError, match=r"b\.safetensors, which is not in the folder"):
        hub.from_pretrained(Toy, folder)


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "a/b/c", "./x", "owner/na me"])
def test_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(UsageError, match="neither a model folder nor a hub id"):
        hub.from_pretrained(Toy, name)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TenfoldError) as error:
        hub.from_pretrained(Toy, "owner/some-model")
    assert "owner/some-model" in str(error.value)
    assert "give a folder" in str(error.value)
    assert "\n" not in str(error.value)


def test_hub_id(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import huggingface_hub

    asked = []

    def download(name: str, revision: str | None = None, allow_patterns: Any = None) -> str:
        asked.append((name, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = hub.from_pretrained(Toy, "owner/some-model", revision="v2")
    assert model.config.width == 4
    assert ("owner/some-model", "v2") in asked


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("this must never be printed",))


def test_foreign_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    plain, wrapped, old = tmp_path / "p.pth", tmp_path / "w.pth", tmp_path / "old.pth"
    torch.save(tensors, plain)
    torch.save({"state_dict": tensors, "epoch": 3}, wrapped)
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "s.safetensors")
    for path in (plain, wrapped, old, tmp_path / "s.safetensors"):
        found = hub.read_state_dict(path)
        assert set(found) == {"a", "b"}
        assert torch.equal(found["a"], tensors["a"])

    bomb, cut, junk, pickled = (tmp_path / n for n in ("bomb.pth", "cut.pth", "junk.pth", "pickle.pth"))
    torch.save({"a": Bomb()}, bomb)
    cut.write_bytes(plain.read_bytes()[:-200])
    junk.write_bytes(b"hello, this is not a checkpoint")
    pickled.write_bytes(pickle.dumps({"a": Bomb()}))
    torch.save({"a": torch.ones(1), "b": [1, 2]}, tmp_path / "list.pth")
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    for path, expected in (
        (bomb, "could run code"),
        (pickled, "pickle.pth"),
        (cut, "truncated"),
        (junk, "truncated or not a PyTorch checkpoint"),
        (tmp_path / "list.pth", "'b' is list"),
        (tmp_path / "tensor.pth", "it holds Tensor"),
        (tmp_path / "absent.pth", "does not exist"),
    ):
        with pytest.raises(UsageError) as error:
            hub.read_state_dict(path)
        assert expected in str(error.value), path
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert "never be printed" not in capsys.readouterr().out


def test_folders_say_their_format_and_newer_ones_are_refused(tmp_path: Path) -> None:
    hub.save_pretrained(TarFlow(TarFlowConfig(shape=(1, 4, 4), width=16, head_size=16, blocks=1, layers=1)), tmp_path)
    file = tmp_path / hub.CONFIG
    content = json.loads(file.read_text())
    assert content["format"] == 1
    file.write_text(json.dumps({key: value for key, value in content.items() if key != "format"}))
    assert hub.read_config(tmp_path)["model_type"] == "tarflow"
    for number in (2, "1", True, 0):
        file.write_text(json.dumps({**content, "format": number}))
        with pytest.raises(UsageError, match=f"is of format {number}, this tenfold reads 1; install a newer one"):
            hub.from_pretrained(TarFlow, tmp_path)
