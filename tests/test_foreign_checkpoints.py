"""Checkpoints as people have them: under wrappers' names, in half precision, damaged, or no checkpoints at all."""

import contextlib
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tenfold import hub
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.captions.files import load_captioned_images
from tenfold.data.images.decode import image_size, open_image
from tenfold.data.images.inputs import read_array
from tenfold.data.latents import open_latents
from tenfold.data.tensor_file import read_tensor_file
from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.solvers.calibration import load_calibration
from tenfold.metrics.features import ClassifierFeatures
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.nn.config import LayerConfig
from tenfold.starflow import read_autoencoder, read_published
from tenfold.starflow.config import StarFlowConfig
from tenfold.starflow.model import StarFlow
from tenfold.starflow.weights import PublishedGeometry
from tenfold.tarflow import TarFlow, TarFlowConfig
from tenfold.tarflow import read_published as read_tarflow

State = dict[str, Tensor]
LAYER = LayerConfig(width=32, head_size=32, rotary="interleaved")


def published(state: State) -> State:
    """Under the reference's names."""
    old = (
        ("layers.", "attn_blocks."),
        (".mlp.up.", ".mlp.main.0."),
        (".mlp.down.", ".mlp.main.2."),
        (".start", ".sos_embed"),
    )
    names = {}
    for name, tensor in state.items():
        for ours, theirs in old:
            name = name.replace(ours, theirs)
        names[name] = tensor
    return names


def tarflow(path: Path) -> State:
    return dict(read_tarflow(path, channels=1, head_size=16).state_dict())


def starflow(path: Path) -> State:
    return dict(read_published(path, PublishedGeometry(channels=2, side=4, head_size=32)).state_dict())


def autoencoder(path: Path) -> State:
    return dict(read_autoencoder(path, scale_factor=1.0, norm_groups=4).state_dict())


READERS: dict[str, tuple[Callable[[], State], Callable[[Path], State]]] = {
    "tarflow": (
        lambda: TarFlow(TarFlowConfig(shape=(1, 4, 4), width=16, head_size=16, blocks=2, layers=1)).state_dict(),
        tarflow,
    ),
    "starflow": (
        lambda: StarFlow(StarFlowConfig(shape=(2, 4, 4), layers=(1, 1), shallow=LAYER, deep=LAYER)).state_dict(),
        starflow,
    ),
    "autoencoder": (
        lambda: Autoencoder(AutoencoderConfig(widths=(8, 8), norm_groups=4)).state_dict(),
        autoencoder,
    ),
}


def under(prefix: str) -> Callable[[State], Any]:
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    **{p: under(p) for p in ("_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod.", "model.", "ema.")},
    "lightning": lambda state: {"state_dict": under("model.")(state), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "lightning compiled": lambda state: {"state_dict": under("model._orig_mod.")(state)},
    "training": lambda state: {"model_state_dict": state, "optimizer": {"state": {}}, "step": 7},
    "average alone": lambda state: {"ema": state},
    "average in an average": lambda state: {"ema": {"shadow": state}, "decay": 0.99},
    "model and average": lambda state: {
        **under("model.")(state), **under("ema_model.")({n: 2 * t for n, t in state.items()}), "loss.w": torch.ones(2)
    },
    "averaged by torch": lambda state: {**under("module.")(state), "n_averaged": torch.tensor(3)},
}  # fmt: skip


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", READERS)
def test_every_precision_loads(tmp_path: Path, name: str, kind: torch.dtype) -> None:
    make, read = READERS[name]
    state = {n: t.to(kind) if t.is_floating_point() else t for n, t in published(make()).items()}
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    found = published(read(tmp_path / "w.safetensors"))
    for key, tensor in state.items():
        torch.testing.assert_close(found[key].double(), tensor.double(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("name", READERS)
def test_wrappers_are_taken_off(tmp_path: Path, name: str, wrapper: str) -> None:
    make, read = READERS[name]
    state = published(make())
    torch.save(WRAPPED[wrapper](state), tmp_path / "w.pth")
    found = published(read(tmp_path / "w.pth"))
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_plain_pickle_is_called_one(tmp_path: Path, protocol: int) -> None:
    for number, content in enumerate(({"a": 1}, {"a": np.ones(2)}, [1, 2])):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(UsageError, match="is a plain pickle, which can run any code when it is read") as error:
            hub.read_state_dict(path)
        assert "weights_only" not in str(error.value)


def png(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)


def jpeg(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)


def captions(folder: Path) -> Any:
    settings = {"side": 8, "multiple": 2, "ratios": "1:1", "validation": 0, "test": 0}
    return load_captioned_images(CaptionDataConfig("folder", str(folder.parent), **settings))


def captioned(path: Path) -> None:
    png(path.parent / "1.png")
    path.write_text('{"file_name": "1.png", "text": "one"}\n')


# File name, what writes a good one, and what reads it.
FILES: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    "png": ("a.png", png, lambda p: open_image(p, "a")),
    "jpeg": ("a.jpg", jpeg, lambda p: (open_image(p, "a"), image_size(p, "a"))),
    "npy": ("a.npy", lambda p: np.save(p, np.ones((2, 3))), read_array),
    "npz": ("a.npz", lambda p: np.savez_compressed(p, a=np.ones((2, 3))), read_array),
    "safetensors": ("a.safetensors", lambda p: save_file({"a": torch.ones(3)}, p), hub.read_state_dict),
    "tensor file": ("a.safetensors", lambda p: save_file({"a": torch.ones(3)}, p), read_tensor_file),
    "pth": ("a.pth", lambda p: torch.save({"a": torch.ones(3)}, p), hub.read_state_dict),
    "calibration": (
        "calibration.json",
        lambda p: p.write_text('{"blocks": [], "batch": 1, "guidance": 0, "tol": 1, "machine": {}}'),
        lambda p: load_calibration(p.parent),
    ),
    "latents": (
        "latents.json",
        lambda p: p.write_text('{"format": 1, "images": "", "encoder": "", "mean": [], "std": [], "texts": [],'
                               ' "count": 0, "shards": []}'),
        lambda p: open_latents(p.parent),
    ),
    "extractor": (
        "extractor.safetensors",
        lambda p: ClassifierFeatures((1, 8, 8), 17, 10).save(p.parent),
        lambda p: ClassifierFeatures.load(p.parent),
    ),
    "captions": ("metadata.jsonl", captioned, captions),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_no_file_ends_in_an_exception_of_its_own(tmp_path: Path, kind: str) -> None:
    import resource

    name, make, read = FILES[kind]
    path = tmp_path / name
    make(path)
    read(path)
    whole, draw = path.read_bytes(), random.Random(0)
    hostile = [
        b"",
        b"\0" * 64,
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"null",
        b"[1, 2]",
        b'{"blocks": 3}',
        b"\xff\xfe" * 9,
    ]
    hostile += [whole[:n] for n in (1, 8, 20, len(whole) // 2, len(whole) - 1)]
    hostile += [struct.pack("<Q", n) + whole[8:] for n in (2**63, 2**40, 10**6)]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 1, 4))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        hostile.append(bytes(damaged))
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), before[1]))
    try:
        for content in hostile:
            path.write_bytes(content)
            with contextlib.suppress(TenfoldError):
                read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
