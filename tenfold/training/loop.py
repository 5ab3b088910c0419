"""The training loop: the clock, precision, parallelism, checkpoints and progress of every system."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tenfold import progress
from tenfold.errors import TenfoldError
from tenfold.files import disk_errors, plain
from tenfold.runs.run_folder import RunFolder
from tenfold.training import parallel
from tenfold.training.checkpoints import resume as resuming
from tenfold.training.checkpoints.checkpoint import Checkpoints, SavedAt, State
from tenfold.training.config import TrainingConfig
from tenfold.training.ema import Ema
from tenfold.training.guard import NanGuard
from tenfold.training.interrupt import Interrupted, StopSignals
from tenfold.training.loader import Batches
from tenfold.training.metrics import Metrics, Tracker
from tenfold.training.parallel import World
from tenfold.training.schedule import learning_rate_factor
from tenfold.training.streams import Draws, key_of
from tenfold.training.task import LOSS, Counting, Rounds, Task, Update, Watching
from tenfold.training.validation import validate

_GO, _STOP, _FAILED = 0, 1, 2


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves: ``chosen_step`` is the step whose (averaged) weights were exported, ``updated``
    whether this process made any step (a run that was finished before is resumed without)."""

    run: RunFolder
    steps: int
    chosen_step: int
    validation_loss: float | None
    seconds: float
    main: bool
    device: torch.device
    updated: bool = True


def train(
    task: Task,
    config: TrainingConfig,
    run: RunFolder,
    *,
    resume: bool = False,
    allow_inexact: bool = False,
    settings: Mapping[str, Any] | None = None,
    show: bool = True,
    device: str = "auto",
) -> TrainingResult:
    """Train ``task`` in the folder ``run`` and export the chosen weights to ``run.model``.

    The chosen weights are the averaged ones of the checkpoint with the best value of ``task.metric``, the lowest
    validation loss say (of the last one without validation data). Afterwards the task's own modules hold them, in the
    main process, on the training device and in evaluation mode.

    Args:
        resume: continue the run from its newest good checkpoint (from the start when none was written yet).
        allow_inexact: resume even where the result cannot be bit-exact.
        settings: the whole configuration for ``config.yaml``; {"train": config} when left out.
        show: progress and notes on standard error.
        device: see ``tenfold.training.devices.device_named``.

    Raises:
        UsageError: settings do not fit the processes, the folder or the run that is resumed.
        Interrupted: SIGINT or SIGTERM; the state was saved.
        TenfoldError: a value that is not finite, a full disk, no usable checkpoint, a folder in use.
    """
    world = parallel.set_up(config, device)
    with ExitStack() as stack:
        with world.agreed():
            if resume:
                run.require_run()  # before the lock, which makes the folder
            if world.main:
                if not resume:
                    run.refuse_existing_run()
                stack.enter_context(run.lock())
        with world.agreed():
            if resume:
                known = run.load_config()
                settings = {**known, "train": asdict(config)} if settings is None else settings
                resuming.check_settings(known, plain(settings), str(run.path))
            else:
                settings = {"train": asdict(config)} if settings is None else settings
                if world.main:
                    run.start(settings)
        signals = stack.enter_context(StopSignals())
        stack.enter_context(disk_errors(str(run.path)))
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        training = _Training(task, config, run, world, signals, show)
        try:
            result = training.go(resume, allow_inexact, settings)
        except Exception:
            # Nothing was learnt: the data or the settings were at fault, and the folder must not refuse the next try.
            if world.main and not resume and not training.updated:
                run.forget_start()
            raise
        if signals.received:
            raise Interrupted(
                f"stopped by {signals.received} after the training; the model is {run.model}, and what is left is done "
                f"by 'tenfold train --resume {run.path}'"
            )
        return result


class _Training:
    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        run: RunFolder,
        world: World,
        signals: StopSignals,
        show: bool,
    ) -> None:
        self.task, self.config, self.run, self.world, self.signals = task, config, run, world, signals
        self.show = show and world.main
        self.step = 0  # finished updates
        self.within = 0  # finished parts of the update after them: draws, then its own updates
        self.validated: int | None = None  # the last step that was validated
        self.best: dict[str, Any] | None = None  # {"step", "loss"}: the value of the task's metric
        self.metric = getattr(task, "metric", LOSS)
        self.saved: SavedAt | None = None  # the last one that has a checkpoint
        self.updated = False  # whether this process has begun an update
        self.seconds = 0.0  # trained before this process

    def go(self, resume: bool, allow_inexact: bool, settings: Mapping[str, Any]) -> TrainingResult:
        self._prepare()
        self._restore(resume, allow_inexact, settings)
        self.began = time.monotonic()
        shown = progress.shown(transient=False) if self.show else nullcontext()
        with shown, progress.task("training", self.config.steps, "steps", done=self.step) as self.work:
            batches = self.batches.ahead(self.step, self.config.steps)
            try:
                self._run(batches)
            finally:
                batches.close()  # type: ignore[attr-defined]
                self.tracker.close()
            return self._finish()

    # Preparation

    def _prepare(self) -> None:
        task, config, world = self.task, self.config, self.world
        self.own = task.modules()
        for module in self.own.values():
            module.train()
        self.modules = parallel.wrap(self.own, world, config)
        self.optimizers = task.optimizers(self.modules)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["peak"] = float(group["lr"])  # the schedule scales what the system chose
        bare = {name: parallel.bare(module) for name, module in self.modules.items()}
        self.ema = Ema(bare, config.ema) if config.ema is not None else None
        source = task.train_source()
        self.batches = Batches(source, config.batch_size, config.seed, world.rank, world.size, config.accumulate)
        self.validation = task.validation_source()
        self.state = State(task, self.modules, self.optimizers, self.ema.shadow if self.ema else {})
        self.checkpoints = Checkpoints(self.run.checkpoints, world)
        self.guard = NanGuard(world.device)
        self.metrics = Metrics()
        fingerprint = getattr(source, "fingerprint", "")
        self.circumstances = resuming.circumstances(config, world, fingerprint)

    def _restore(self, resume: bool, allow_inexact: bool, settings: Mapping[str, Any]) -> None:
        self.checkpoints.clean()
        found = self.checkpoints.newest_good(self.state, self._note) if resume else None
        if found is not None:
            self.saved, saved = found
            loop, (step, within) = saved["loop"], self.saved
            for text in resuming.check(loop, self.circumstances, step, allow_inexact, str(self.run.path)):
                self._note(text)
            self.checkpoints.load(self.saved, saved, self.state)
            self.step, self.within = step, within
            self.best, self.validated, self.seconds = loop["best"], loop["validated"], loop["seconds"]
            self.metrics.load_state(loop.get("metrics", {}), self.world)
            self._note(f"resumed {self.run.path} {'in the middle of' if within else 'at'} step {step + bool(within)}")
        elif resume:
            self._note(f"{self.run.path} has no checkpoint yet: starting from its first step")
        with self.world.agreed():
            if self.world.main:
                self.run.truncate_metrics(self.step)
                if resume:
                    self.run.write_config(settings)
                now = {key: self.circumstances[key] for key in ("processes", "parallel", "threads", "device")}
                self.run.record_start(self.step, now, self.circumstances["fingerprint"])
        self.tracker = Tracker(self.run, self.world, self.config.tracker, self.step)

    # The loop

    def _run(self, batches: Iterator[list[dict[str, Tensor]]]) -> None:
        config = self.config
        while True:
            last = self.step == config.steps
            if self._due(config.validate_every) or last:
                self._validate()
            if self._due(config.checkpoint_every) or last:
                self._save()
            # A stop that was asked for during the last validation cut it short: the model is not chosen yet.
            micro = self._next(batches)
            if micro is None:
                self._stop()
            if last:
                return
            self._update(micro)
            self.step, self.within = self.step + 1, 0
            self.work()
            if self.step % config.log_every == 0 or self.step == config.steps:
                self._check_finite()
                self._log()

    def _stop(self) -> NoReturn:
        self._save()
        raise Interrupted(
            f"stopped by {self.signals.received or 'a signal'} {'in the middle of' if self.within else 'at'} step "
            f"{self.step + bool(self.within)}; the run is saved, {self._how_to_resume()}"
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.step > 0 and self.step % every == 0

    def _next(self, batches: Iterator[list[dict[str, Tensor]]]) -> list[dict[str, Tensor]] | None:
        """The next micro-batches (none at the end of the run), or None when any process was asked to stop; a failure
        reaches them all."""
        micro, error = None, None
        if not self.signals.received:
            try:
                micro = next(batches, [])
            except Exception as caught:
                error = caught
        code = _FAILED if error else _STOP if self.signals.received else _GO
        code = self.world.maximum(code)
        if code == _FAILED:
            self.world.agree(error)
        return micro if code == _GO else None

    def _update(self, micro: list[dict[str, Tensor]]) -> None:
        """One step: each phase of ``task.step`` over all micro-batches, then its optimiser."""
        config, device, self.updated = self.config, self.world.device, True
        # Layers that draw from torch's global generator (dropout) are keyed by the step as well.
        parallel.seed_everything(key_of(config.seed, "torch", self.step, self.world.rank), device)
        factor = learning_rate_factor(self.step, config)
        draws = Draws(config.seed, self.step)
        moved = [{name: t.to(device, non_blocking=True) for name, t in batch.items()} for batch in micro]
        if isinstance(self.task, Rounds):
            self._draw(self.task, moved, draws)
        if isinstance(self.task, Counting) and len(micro) * self.world.size > 1:
            self._share_counts(self.task, moved, draws)
        phases = [self.task.step(self.modules, batch, draws) for batch in moved]
        while True:
            self._zero_gradients()  # a generator's loss also reaches the critic: those gradients do not count
            stepped = self._phase(phases)
            if stepped is None:
                break
            self._optimize(stepped, factor)
            if isinstance(self.task, Rounds):
                self._part_done(self.within + 1)
        if self.ema is not None:
            self.ema.update(self.step)

    def _draw(self, task: Rounds, moved: list[dict[str, Tensor]], draws: Draws) -> None:
        """What the updates are on, for every micro-batch."""
        with parallel.whole(self.own, self.modules, self.world), torch.no_grad():
            for number, batch in enumerate(moved, 1):
                with self.world.accelerator.autocast():
                    task.prepare(batch, draws)
                self._part_done(number)

    def _part_done(self, within: int) -> None:
        """So many parts of a step are in the task's state: a stop is heeded here."""
        self.within = max(self.within, within)
        if self.world.maximum(int(bool(self.signals.received))):
            self._stop()

    def _share_counts(self, task: Counting, moved: list[dict[str, Tensor]], draws: Draws) -> None:
        """Tell every micro-batch the mean of the counts over all of them, in all processes."""
        counts = [task.counts(batch, draws) for batch in moved]
        own = torch.stack([torch.stack([one[name].double() for one in counts]).sum() for name in counts[0]]).cpu()
        means = self.world.sum(own) / (len(moved) * self.world.size)
        for batch in moved:
            batch |= {f"mean_{name}": mean.to(self.world.device) for name, mean in zip(counts[0], means, strict=True)}

    def _phase(self, phases: list[Iterator[Update]]) -> str | None:
        """Forward and backward over all micro-batches: the optimiser to step, or None at the end."""
        names: set[str | None] = set()
        for number, phase in enumerate(phases):
            with parallel.gradient_sync(self.modules, active=number == len(phases) - 1):
                with self.world.accelerator.autocast():
                    update = next(phase, None)
                names.add(update.optimizer if update else None)
                if update is not None:
                    self._observe(update)
                    (update.loss / len(phases)).backward()
        if len(names) > 1:
            raise TenfoldError(f"micro-batches of a step ask for different updates: {sorted(map(str, names))}")
        return names.pop()

    def _observe(self, update: Update) -> None:
        if update.loss.ndim:
            raise TenfoldError(
                f"the loss of {update.optimizer!r} has shape {tuple(update.loss.shape)}, expected a scalar"
            )
        for name, value in update.check.items():
            self.guard.watch(self.step, name, value)
        single = len(self.optimizers) == 1
        loss = "loss" if single else f"loss/{update.optimizer}"
        self.guard.watch(self.step, "the loss" if single else f"the loss of {update.optimizer}", update.loss)
        self.metrics.add(loss, update.loss)
        for name, value in update.metrics.items():
            self.metrics.add(name, value)

    def _optimize(self, name: str, factor: float) -> None:
        if name not in self.optimizers:
            raise TenfoldError(f"step() names the optimiser {name!r}, there are {sorted(self.optimizers)}")
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.config.clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        norm = parallel.full_tensor(norm)
        self.guard.watch(self.step, f"gradient of {name}", norm)
        self.metrics.add("gradient_norm" if len(self.optimizers) == 1 else f"gradient_norm/{name}", norm)
        if self.world.device.type == "cpu":
            self._check_finite()  # free here, and before the bad step; on a GPU it waits for the next record
        if isinstance(self.task, Watching):
            self.task.watch_gradient(norm)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.step()

    def _zero_gradients(self) -> None:
        for module in self.modules.values():
            module.zero_grad(set_to_none=True)

    # What happens between steps

    def _check_finite(self) -> None:
        self.guard.raise_if_bad(self.world, self.modules, self._how_to_resume())

    def _how_to_resume(self) -> str:
        command = f"'tenfold train --resume {self.run.path}'"
        if self.saved is None:
            return f"start again with {command} (no checkpoint was written yet)"
        return f"resume from step {self.saved.step} with {command}"

    def _log(self) -> None:
        means = self.metrics.read(self.world)
        group = next(iter(self.optimizers.values())).param_groups[0] if self.optimizers else {"lr": 0.0}
        record = {**means, "learning_rate": group["lr"], "seconds": self._seconds()}
        self._write("train", record)
        losses = [value for name, value in means.items() if name == "loss" or name.startswith("loss/")]
        self.work.detail = f"loss {sum(losses):.4g}"

    def _write(self, kind: str, record: dict[str, float]) -> None:
        with self.world.agreed():
            if self.world.main:
                finite = {k: v if math.isfinite(v) else None for k, v in record.items()}
                self.run.append_metrics({"step": self.step, "kind": kind, **finite})
                self.tracker.log(kind, record, self.step)

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.began

    def _validate(self) -> None:
        if self.validation is None or self.validated == self.step:
            return
        self._check_finite()
        averaged = self.ema
        if averaged:
            averaged.swap()
        drawn = parallel.whole(self.own, self.modules, self.world) if isinstance(self.task, Rounds) else nullcontext()
        try:
            with drawn:
                means = validate(
                    self.task,
                    self.modules,
                    self.validation,
                    self.config,
                    self.world,
                    lambda: bool(self.signals.received),
                )
        finally:
            if averaged:
                averaged.swap()
        if means is None:
            return  # interrupted: a resumed run validates this step first
        self.validated = self.step
        self._write("validation", {**means, "seconds": self._seconds()})
        value = means[self.metric.name]
        if self.metric.better(value, self.best["loss"] if self.best else None):
            self.best = {"step": self.step, "loss": value}
            self._save()

    def _save(self) -> None:
        now = SavedAt(self.step, self.within)
        if self.saved == now:
            return
        self._check_finite()
        loop = {
            "best": self.best,
            "validated": self.validated,
            "seconds": self._seconds(),
            "samples": self.step * self.config.batch_size,
            "metrics": self.metrics.state(self.world),
            **self.circumstances,
        }
        self.checkpoints.save(now, self.state, loop)
        self.saved = now
        self.checkpoints.prune(self.config.keep_last, now)

    # The end

    def _finish(self) -> TrainingResult:
        chosen = self._load_chosen()
        if self.ema is not None:
            self.ema.swap()
        parallel.unwrap(self.own, self.modules, self.world)
        for module in self.own.values():
            module.eval()
        with self.world.agreed():
            if self.world.main:
                self.run.replace_model(self.task.export)
        loss = self.best["loss"] if self.best and self.best["step"] == chosen else None
        seconds = self._seconds()
        self._note(
            f"trained {self.step} steps in {progress.clock(seconds)}; the model of step {chosen} is {self.run.model}"
        )
        main, device = self.world.main, self.world.device
        return TrainingResult(self.run, self.step, chosen, loss, seconds, main, device, self.updated)

    def _load_chosen(self) -> int:
        if self.best is None or self.best["step"] == self.step:
            return self.step
        try:
            self.checkpoints.load_weights(SavedAt(self.best["step"]), self.state)
        except TenfoldError as error:
            self._note(f"{error}; exporting step {self.step} instead of the best one")
            return self.step
        return int(self.best["step"])

    def _note(self, text: str) -> None:
        if self.show:
            progress.note(text)
