"""What the tasks of flows share: the flow itself, made on first use, moved, trained by AdamW, and read again; and what
the verbs write: samples as files, scored inputs as a picture; and what training costs."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tenfold import progress
from tenfold.data.images.inputs import Inputs
from tenfold.errors import UsageError
from tenfold.figures.images import image_grid, ranked
from tenfold.files import disk_errors, json_text, write_output
from tenfold.flows.flow import Flow
from tenfold.flows.loss import to_levels
from tenfold.flows.options import FlowRecipe, GuidedSampling
from tenfold.flows.sampling import seeded_noise
from tenfold.flows.solvers.calibrate import calibrate
from tenfold.flows.solvers.calibration import save_calibration
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.solvers.inversion import sample_bytes
from tenfold.hub.folders import from_pretrained
from tenfold.nn.cost import traced
from tenfold.nn.memory import require
from tenfold.runs.scores import Scores
from tenfold.training.config import TrainingConfig
from tenfold.training.optimizers import adamw
from tenfold.training.rehearsal import rehearsed
from tenfold.training.task import Batch, Task

_SHOWN = 2**24  # numbers of a picture
AnyFlow = TypeVar("AnyFlow", bound=Flow)
AnyRecipe = TypeVar("AnyRecipe", bound=FlowRecipe)


class FlowUse(Generic[AnyFlow, AnyRecipe]):
    """A flow of the class ``kind`` as its recipe describes it; its weights are made on first use."""

    kind: ClassVar[type[Flow]]

    def __init__(self, recipe: AnyRecipe, name: str) -> None:
        self.recipe, self.name = recipe, name
        self.device = torch.device("cpu")
        self.dtype: torch.dtype | None = None

    @cached_property
    def flow(self) -> AnyFlow:
        """The flow, with random weights until others are loaded or trained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            flow: Any = self.kind(self.recipe.model)  # type: ignore[call-arg]
            return flow.to(self.device, self.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the flow to a device and its weights to a floating type, those that are loaded later too."""
        self.device, self.dtype = torch.device(device), dtype
        if "flow" in self.__dict__:
            self.flow.to(self.device, dtype)

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW over all parameters, as the references have it."""
        return {"flow": adamw(modules["flow"].parameters(), self.recipe.train)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def load(self, folder: Path | str) -> None:
        """Take the weights of a model folder; raises UsageError where its geometry differs."""
        flow = from_pretrained(self.kind, folder)
        if flow.config != self.recipe.model:
            raise UsageError(f"{folder} holds a flow with {flow.config}, but this run's is {self.recipe.model}")
        self.flow = flow.to(self.device, self.dtype)

    def save_calibration(self, x: Tensor, condition: Tensor | None, folder: Path) -> None:
        """Put what the "auto" sampler needs to know, measured on inputs x, into a model folder."""
        device = self.flow.var.device
        measured = calibrate(self.flow, x.to(device), None if condition is None else condition.to(device), repeats=3)
        save_calibration(measured, folder)


def write_samples(
    flow: Flow,
    options: GuidedSampling,
    levels: int,
    folder: Path,
    draw: Callable[[Int64[Tensor, "b"], Float[Tensor, "b t d"]], tuple[Tensor, SamplingInfo]],
) -> list[Path]:
    """Samples in the flow's scale, [−1, 1], as a picture grid (of the first 1,024, or of as many as have 2²⁴ numbers),
    ``samples.npz`` (integer levels and float32 values) and ``samples.json``, how they were made.

    ``draw(rows, noise)`` makes those with the numbers ``rows`` from their noise for ``flow``. They are drawn and
    written ``options.batch`` at a time, and none is kept; the files appear when they are whole."""
    once = min(options.batch, options.num)
    each = sample_bytes(flow, bool(options.guidance))
    require(once * each, flow.var.device, f"sampling {once} at once", "lower --batch")
    shape: tuple[int, ...] = ()
    shown: list[Tensor] = []
    info: SamplingInfo | None = None
    path = folder / "samples.npz"
    unfinished = path.with_name(f".{path.name}.writing")
    new = not folder.exists()
    with disk_errors(str(path)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{folder} is or lies in a file; samples need a folder, choose another --out") from None
        try:
            with (
                tempfile.TemporaryFile(dir=folder) as pixels,  # entries of an archive are written one after the other
                zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                with archive.open("values.npy", "w", force_zip64=True) as values:
                    batches = torch.arange(options.num).split(options.batch)
                    noises = seeded_noise(flow, options.seed, [len(rows) for rows in batches])
                    for rows in progress.track(batches, "samples", "batches"):
                        images, record = draw(rows, next(noises))
                        info = record if info is None else info.joined(record)
                        if not shape:
                            shape = (options.num, *images.shape[1:])
                            _write_header(values, "<f4", shape)
                        values.write(np.ascontiguousarray(images.float().cpu().numpy(), "<f4").tobytes())
                        integers = to_levels(images.clamp(-1, 1), levels).cpu().numpy()
                        pixels.write(integers.tobytes())
                        room = min(1024, max(1, _SHOWN // images[0].numel())) - int(rows[0])
                        if room > 0:
                            shown.append(images[:room].clamp(-1, 1).float().cpu())
                pixels.seek(0)
                with archive.open("pixels.npy", "w", force_zip64=True) as entry:
                    _write_header(entry, np.lib.format.dtype_to_descr(integers.dtype), shape)
                    shutil.copyfileobj(pixels, entry, 1 << 20)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
            if new and not path.exists():
                folder.rmdir()
    assert info is not None
    told = {"options": vars(options), "levels": levels, "info": info.to_dict()}
    picture = image_grid(torch.cat(shown), folder / "samples.png")
    return [picture, path, write_output(folder / "samples.json", json_text(told, indent=2))]


def _write_header(file: Any, descr: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def with_picture(found: Scores, inputs: Inputs, levels: int, path: Path | None) -> Scores:
    """Scores with a picture, where a path is given, of the images that score lowest, above those that score highest."""
    if path is None:
        return found
    place = {name: i for i, name in enumerate(inputs.names)}
    images = inputs.array[[place[name] for name in found.names]]
    low, high = (0.0, levels - 1.0) if inputs.are_pixels else (-1.0, 1.0)
    return replace(found, files=(ranked(images, [values[0] for values in found.values], path, low=low, high=high),))


def cost(
    task: Task,
    flow: Flow,
    x: Tensor,
    given: Tensor | None,
    batch: Callable[[int], Batch],
    train: TrainingConfig,
    frozen: Iterable[nn.Module] = (),
) -> dict[str, int]:
    """Parameters, bytes (see ``tenfold.training.rehearsal``) and floating-point operations of a training step of a
    global batch, of a task with its flow on the meta device; x (1, *shape) and what is given with it are one input, and
    ``batch`` makes so many samples. The task uses the ``frozen`` networks besides.

    FLOPs: the forward pass counted by PyTorch on meta tensors, three times (backward costs twice as much), and
    once more with activation checkpointing."""
    config = flow.config
    forward, _ = traced(lambda: flow(x, given))
    return {
        "parameters": sum(p.numel() for p in flow.parameters()),
        "flops_per_step": forward * train.batch_size * (4 if train.activation_checkpointing else 3),
        **rehearsed(task, {"flow": flow}, batch, train, frozen),
        "tokens": config.tokens,
        "token_dim": config.token_dim,
        "batch_size": train.batch_size,
    }
