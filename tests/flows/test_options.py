"""What is set is used or refused, what does not fit into memory is refused, and batches change no sample."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows import Auto, Guidance, Plan, Selective, sample
from tenfold.flows.solvers.calibration import Calibration
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.solvers.inversion import sample_bytes
from tenfold.flows.task import write_samples
from tenfold.nn import memory
from tenfold.nn.config import LayerConfig
from tenfold.starflow.config import StarFlowConfig
from tenfold.tarflow.config import FlowObjective, FlowSampling, TarFlowConfig
from tenfold.tarflow.model import TarFlow

INF = float("inf")
WRONG: list[tuple[type, dict[str, Any], str]] = [
    (Plan, {"solver": "frontier", "max_sweeps": 3}, "max_sweeps is 3, which is an option of jacobi, gs"),
    (Plan, {"solver": "frontier", "stop": "frobenius"}, "stop is frobenius"),
    (Plan, {"solver": "jacobi", "segments": 3}, "segments is 3"),
    (Plan, {"solver": "gs", "window": 3}, "window is 3"),
    (Selective, {"tol": -1.0}, "tol is -1.0"),
    (Selective, {"init": "x"}, "init is 'x'"),
    (Auto, {"tol": INF}, "tol is inf"),
    (Guidance, {"weight": INF}, "guidance is inf"),
    (FlowSampling, {"batch": 0}, "batch is 0"),
    (FlowSampling, {"solver": "sequential", "tolerance": 0.1}, "tolerance belongs to the parallel solvers"),
    (FlowSampling, {"denoise_rate": 0.5}, "denoise_rate belongs to denoise"),
    (FlowObjective, {"noise": "gaussian", "sigma": INF}, "sigma is inf"),
    (LayerConfig, {"expansion": INF}, "expansion is inf"),
    (StarFlowConfig, {"side": INF}, "side is inf"),
    (StarFlowConfig, {"shallow": LayerConfig(width=36, head_size=6, rotary="half")}, "must be a multiple of 4"),
    (StarFlowConfig, {"deep": LayerConfig(width=66, head_size=22, rotary="half"), "classes": 2}, "multiple of 4"),
]


@pytest.mark.parametrize(("kind", "values", "words"), WRONG, ids=lambda v: getattr(v, "__name__", None))
def test_what_does_not_fit_is_refused(kind: type, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kind(**values)


def test_blocks_are_whole_numbers() -> None:
    assert Guidance(1.0, blocks=np.array([0, 2])).guided_blocks(3) == {0, 2}
    assert Guidance(1.0, blocks=np.int64(2)).guided_blocks(3) == {0, 1}


def test_wrong_types_are_refused_without_a_type_checker() -> None:
    code = (
        "from tenfold.errors import UsageError\n"
        "from tenfold.flows import Guidance, Plan\n"
        "from tenfold.nn import AutoencoderConfig\n"
        "from tenfold.tarflow import TarFlowConfig\n"
        "for make in (\n"
        "    lambda: Plan('jacobi', max_sweeps=2.5), lambda: Plan('jacobi', approximate='perhaps'),\n"
        "    lambda: Guidance('1'), lambda: Guidance(1.0, blocks=1.5).guided_blocks(3),\n"
        "    lambda: Guidance(1.0, blocks=True).guided_blocks(3),\n"
        "    lambda: Guidance(1.0, blocks=[0.5]).guided_blocks(3),\n"
        "    lambda: TarFlowConfig(shape=(1, 8.5, 8)), lambda: AutoencoderConfig(widths=(8.5,)),\n"
        "):\n"
        "    try:\n"
        "        make()\n"
        "        raise SystemExit('taken')\n"
        "    except UsageError:\n"
        "        pass\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_head_on_a_line_needs_no_multiple_of_four() -> None:
    layer = LayerConfig(width=66, head_size=22, rotary="half")
    StarFlowConfig(deep=layer, deep_positions="line")


def test_earlier_calibrations_are_read() -> None:
    plan = {"solver": "jacobi", "tol": 1e-5, "max_sweeps": None, "init": "v", "segments": 8, "window": 15,
            "stop": "change", "approximate": False}  # fmt: skip
    timing = {"plan": plan, "seconds": 1.0, "calls": 2, "tokens": 3, "max_error": 0.0}
    block = {"block": 0, "igm": {}, "crm": [1, 1, 1, 1], "crm_share": 1.0, "sweeps": {}, "steps": 15,
             "sequential_seconds": 2.0, "timings": [timing]}  # fmt: skip
    found = Calibration.from_dict({"blocks": [block], "batch": 1, "guidance": 0.0, "tol": 1e-5})
    assert found.blocks[0].timings[0].plan == Plan("jacobi", tol=1e-5)
    block["timings"][0] |= {"max_error": INF}
    overflown = Calibration.from_dict({"blocks": [block], "batch": 1, "guidance": 0.0, "tol": 1e-5})
    text = json.dumps(overflown.to_dict(), allow_nan=False)
    assert Calibration.from_dict(json.loads(text)) == overflown
    assert overflown.blocks[0].best is None


def flow() -> TarFlow:
    torch.manual_seed(0)
    flow = TarFlow(TarFlowConfig(shape=(1, 4, 4), width=16, head_size=16, blocks=2, layers=1)).eval()
    with torch.no_grad():
        for block in flow.blocks:
            block.proj_out.weight.normal_(std=0.05)
    return flow


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("solver", ["sequential", "selective", "jacobi"])
def test_batches_change_no_sample(tmp_path: Path, solver: Any) -> None:
    model, found = flow(), []
    for batch in (1, 3, 7):
        options = FlowSampling(num=7, batch=batch, seed=5, solver=solver)
        draw = lambda rows, noise: sample(model, len(rows), noise=noise, solver=solver, return_info=True)  # noqa: E731
        write_samples(model, options, 256, tmp_path / str(batch), draw)
        arrays = np.load(tmp_path / str(batch) / "samples.npz")
        assert arrays["values"].shape == arrays["pixels"].shape == (7, 1, 4, 4)
        assert arrays["pixels"].dtype == np.uint8
        record = json.loads((tmp_path / str(batch) / "samples.json").read_text())
        assert record["info"]["samples"] == 7
        assert {path.name for path in (tmp_path / str(batch)).iterdir()} == {
            "samples.npz", "samples.json", "samples.png"
        }  # fmt: skip
        found.append(arrays["values"])
    assert np.allclose(found[0], found[1], atol=1e-5)
    assert np.allclose(found[0], found[2], atol=1e-5)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def fails(rows: torch.Tensor, noise: torch.Tensor) -> Any:
        raise UsageError("no")

    with pytest.raises(UsageError):
        write_samples(flow(), FlowSampling(num=2), 256, tmp_path, fails)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError):
        write_samples(flow(), FlowSampling(num=2), 256, tmp_path / "new", fails)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    """Each image has 2^18 numbers: a hundred more would be 100 MiB of floats, and 25 of pixels."""
    model, taken = flow(), []

    def draw(rows: torch.Tensor, noise: torch.Tensor) -> Any:
        taken.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
        return torch.zeros(len(rows), 1, 512, 512), SamplingInfo(len(rows), "sequential", True, 0.0)

    _, file, _ = write_samples(model, FlowSampling(num=240, batch=4), 256, tmp_path, draw)
    assert max(taken[30:]) - max(taken[:30]) < 15 * 2**20  # the first 64 images are for the picture
    with np.load(file) as arrays:
        assert arrays["pixels"].shape == arrays["values"].shape == (240, 1, 512, 512)
        assert arrays["pixels"].dtype == np.uint8
        assert (arrays["pixels"][-1] == 128).all()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["samples.json", "samples.npz", "samples.png"]


def test_a_request_beyond_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = flow()
    monkeypatch.setattr("tenfold.nn.memory.free_bytes", lambda device: 10 * sample_bytes(model))
    sample(model, 9)
    with pytest.raises(UsageError, match=r"sampling 11 at once would need about .* available; take fewer at a time"):
        sample(model, 11)


def test_what_is_free_heeds_the_limit_of_the_process() -> None:
    code = "import torch; from tenfold.nn.memory import free_bytes; print(free_bytes(torch.device('cpu')))"
    limit = 6 << 30
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert 0 < int(done.stdout) < limit
    assert memory.free_bytes(torch.device("meta")) == 1 << 62


def test_jacobians_stay_in_bounds() -> None:
    code = (
        "import resource, torch\n"
        "from tenfold.tarflow import TarFlow, TarFlowConfig\n"
        "from tenfold.flows import conditioning\n"
        "flow = TarFlow(TarFlowConfig(shape=(1, 8, 8), width=256, blocks=1, layers=2))\n"
        "x = torch.zeros(16, 1, 8, 8)\n"
        "flow(x)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "conditioning(flow, x)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 600 * 1024  # KiB
