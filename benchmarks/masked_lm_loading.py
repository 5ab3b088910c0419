"""Peak memory of reading a sharded checkpoint of 1.7 GB: tensor by tensor, against all files into one dictionary first.

``python -m benchmarks.masked_lm_loading [--quick] [--json FILE]`` writes random weights to a temporary folder (1.7 GB;
with ``--quick`` 0.2) and reads them in fresh processes. Both sides are the growth of a process's peak memory as a
multiple of the weights' size; their seconds are in the details.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.harness import Record, main
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM

_SHARDS = 8


def geometry(quick: bool) -> MaskedLMConfig:
    """A network of 0.44 billion weights, or a tenth of it."""
    width, layers = (768, 6) if quick else (2048, 8)
    return MaskedLMConfig(width=width, layers=layers, heads=16, intermediate=3 * width, vocab_size=258)


def write(config: MaskedLMConfig, folder: Path) -> None:
    """Random weights in shards, one shard in memory at a time."""
    with torch.device("meta"):
        model = MaskedLM.from_config(config)
    model.network.config.save_pretrained(folder)
    names = [(name, p.shape) for name, p in model.network.named_parameters()]
    where: dict[str, str] = {}
    for k in range(_SHARDS):
        file = f"model-{k + 1:05}-of-{_SHARDS:05}.safetensors"
        own = {name: torch.randn(shape) * 0.02 for name, shape in names[k::_SHARDS]}
        save_file(own, folder / file)
        where |= dict.fromkeys(own, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    settings = json.loads((folder / "config.json").read_text()) | {"mask_token_id": config.mask}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "geometry.json").write_text(json.dumps(asdict(config)))


def peak() -> int:
    """The most memory that this process has had, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def read(way: str, folder: Path) -> dict[str, float]:
    """Read the checkpoint in this process: growth of the peak over the weights' size, seconds, and a checksum."""
    MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2))  # what the libraries need
    before, began = peak(), time.perf_counter()
    if way == "ours":
        model = MaskedLM.from_pretrained(folder)
    else:
        model = MaskedLM.from_config(MaskedLMConfig(**json.loads((folder / "geometry.json").read_text())))
        tensors = {}
        for file in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(file)
        model.network.load_state_dict(tensors)
    seconds = time.perf_counter() - began
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    checksum = sum(p.double().sum().item() for p in model.parameters())
    return {"growth": (peak() - before) / size, "seconds": seconds, "bytes": size, "checksum": checksum}


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """One record."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(geometry(quick), folder)
        found = {}
        for way in ("ours", "other"):
            command = [sys.executable, "-m", "benchmarks.masked_lm_loading", way, place]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way] = json.loads(done.stdout.splitlines()[-1])
    ours, other = found["ours"], found["other"]
    emit(
        Record(
            "sharded-checkpoint",
            ours["growth"],
            other["growth"],
            "x size",
            abs(ours["checksum"] - other["checksum"]),
            {"bytes": ours["bytes"], "shards": _SHARDS},
            {"seconds": ours["seconds"], "other_seconds": other["seconds"]},
            "peak memory over the size of the weights",
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["other"]):
        print(json.dumps(read(sys.argv[1], Path(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main("masked_lm_loading", benchmarks, ("tenfold", "torch", "transformers", "safetensors")))
