"""The measurements behind the solver "auto", as they are kept beside a flow's weights. Their times hold for the
machine, batch size and guidance they were taken with; elsewhere "auto" is sequential and says so."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tenfold.errors import UsageError
from tenfold.files import json_text, write_output
from tenfold.flows.block import FlowBlock
from tenfold.flows.solvers.plan import ONLY, SOLVERS, Plan
from tenfold.runs.machine import cpu_name

FILE = "calibration.json"
# A parallel solver must win by this much, so that noise in the measurement does not make "auto" slower.
MARGIN = 0.9


@dataclass(frozen=True)
class Timing:
    """One solver of one block: time of the calibration batch in seconds, calls, tokens, and the largest error
    against the sequential solver."""

    plan: Plan
    seconds: float
    calls: int
    tokens: int
    max_error: float


@dataclass(frozen=True)
class BlockCalibration:
    """One block; ``block`` counts from the data side.

    igm: per init "v", "zeros".  crm: ‖mean(e^−a u)‖, ‖W_a‖, ‖W_m‖ and their combination (spectral norms).
    crm_share: its share of all blocks' CRM.  sweeps: per init, Jacobi sweeps to the tolerance.
    sequential_seconds: time of the sequential solver; ``timings`` those of the candidates.
    """

    block: int
    igm: dict[str, float]
    crm: tuple[float, float, float, float]
    crm_share: float
    sweeps: dict[str, int]
    steps: int
    sequential_seconds: float
    timings: tuple[Timing, ...] = ()

    @property
    def best(self) -> Timing | None:
        """The quickest candidate that beats the sequential solver by the margin, if any; not one that overflowed."""
        enough = MARGIN * self.sequential_seconds
        winners = [t for t in self.timings if t.seconds < enough and math.isfinite(t.max_error)]
        return min(winners, key=lambda t: t.seconds) if winners else None


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` measured, in sampling order, and where. Saved beside the weights as JSON."""

    blocks: tuple[BlockCalibration, ...]
    batch: int
    guidance: float
    tol: float
    machine: dict[str, str | int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; an error that overflowed is None."""
        values = asdict(self)
        for timing in (timing for block in values["blocks"] for timing in block["timings"]):
            timing["max_error"] = timing["max_error"] if math.isfinite(timing["max_error"]) else None
        return values

    @classmethod
    def from_dict(cls, values: Any) -> "Calibration":
        """The inverse of ``to_dict``. Raises UsageError for a dictionary that is no calibration."""
        try:
            blocks = []
            for block in values["blocks"]:
                timings = tuple(
                    Timing(**{**t, "plan": _plan(t["plan"]), "max_error": _error(t["max_error"])})
                    for t in block["timings"]
                )
                blocks.append(BlockCalibration(**(block | {"crm": tuple(block["crm"]), "timings": timings})))
            return cls(**(values | {"blocks": tuple(blocks)}))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no calibration of a sampler ({error}); calibrate again") from None

    def mismatch(self, blocks: Sequence[FlowBlock], batch: int, guidance: float) -> str:
        """Why the times do not hold for a run of a flow of these blocks; empty when they do."""
        here = machine(blocks[0])
        different = [name for name in here if self.machine.get(name) != here[name]]
        if len(self.blocks) != len(blocks):
            return f"calibrated for {len(self.blocks)} blocks, not {len(blocks)}"
        steps = blocks[0].steps
        if self.blocks[0].steps != steps:
            return f"calibrated for {self.blocks[0].steps} steps a block, not {steps}"
        if different:
            name = different[0]
            return f"calibrated with {name} {self.machine.get(name)}, not {here[name]}"
        if not self.batch / 2 <= batch <= self.batch * 2:
            return f"calibrated for batches of {self.batch}, not {batch}"
        if bool(guidance) != bool(self.guidance) or guidance > 1.5 * self.guidance:
            return f"calibrated with guidance {self.guidance:g}, not {guidance:g}"
        return ""


def _plan(values: dict[str, Any]) -> Plan:
    """A plan as it was written, with the options that its solver has: earlier versions wrote a window for all."""
    return Plan(**{name: value for name, value in values.items() if values["solver"] in ONLY.get(name, SOLVERS)})


def _error(value: float | None) -> float:
    return math.inf if value is None else float(value)


def machine(block: FlowBlock) -> dict[str, str | int]:
    """What the times of a calibration depend on, besides the batch; ``block`` is any of the flow's."""
    weight = block.proj_in.weight
    device = weight.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "dtype": str(weight.dtype),
        "torch": torch.__version__,
    }


def save_calibration(calibration: Calibration, folder: str | os.PathLike[str]) -> Path:
    """Write ``calibration.json`` into a model folder; returns its path."""
    return write_output(Path(folder) / FILE, json_text(calibration.to_dict(), indent=2) + "\n")


def load_calibration(folder: str | Path) -> Calibration | None:
    """The calibration of a model folder; None if it has none. Raises UsageError for a broken file."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        return Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON ({error}); calibrate again") from None
