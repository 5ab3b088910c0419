"""What a user can set about training. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import settings


@settings
class TrainingConfig:
    """Settings of the training loop, the same for every system.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: global batch, over all processes and accumulation rounds.
        accumulate: micro-batches per step (gradient accumulation); must divide the per-process batch.
        learning_rate: peak rate, reached after ``warmup_steps`` of linear warm-up, then cosine decay.
        warmup_steps: linear warm-up from ``initial_fraction`` of the peak.
        initial_fraction: rate at step 0 as a fraction of the peak.
        final_fraction: rate at the last step as a fraction of the peak.
        weight_decay: AdamW decoupled weight decay.
        betas: AdamW moment decays.
        eps: AdamW epsilon.
        clip: largest gradient norm; None switches clipping off.
        ema: decay of the averaged weights used by evaluation and export (with a warm-up
            min(ema, (1 + step) / (10 + step))); None switches averaging off.
        precision: "fp32", or "bf16" autocast.
        parallel: "auto" is "single" for one process and "ddp" for several; "fsdp" shards with FSDP2.
        activation_checkpointing: recompute transformer layers in the backward pass.
        compile: run the training step through ``torch.compile``.
        seed: keys every random draw of the run.
        log_every: steps between metric records.
        validate_every: steps between validations; 0 validates at the end only.
        checkpoint_every: steps between checkpoints; 0 keeps the last one only.
        keep_last: how many periodic checkpoints stay on disk (the best one stays too).
        tracker: where metrics go besides metrics.jsonl: "tensorboard" (into the run folder), or "wandb", "mlflow" or
            "trackio", whose package and account are yours; "none" for nowhere.
        threads: CPU threads; 0 leaves PyTorch's choice.
    """

    steps: int = 1000
    batch_size: int = 128
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    initial_fraction: float = 0.01
    final_fraction: float = 0.02
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float | None = 1.0
    ema: float | None = 0.99
    precision: Literal["fp32", "bf16"] = "fp32"
    parallel: Literal["auto", "single", "ddp", "fsdp"] = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    seed: int = 0
    log_every: int = 20
    validate_every: int = 200
    checkpoint_every: int = 500
    keep_last: int = 2
    tracker: Literal["tensorboard", "wandb", "mlflow", "trackio", "none"] = "tensorboard"
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "keep_last"):
            if getattr(self, name) < 1:
                raise UsageError(f"train.{name} is {getattr(self, name)}; give at least 1")
        for name in ("warmup_steps", "validate_every", "checkpoint_every", "threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"train.{name} is {getattr(self, name)}; give at least 0")
        if not self.learning_rate > 0.0:
            raise UsageError(f"train.learning_rate is {self.learning_rate}; give a positive number")
        for name in ("initial_fraction", "final_fraction", "weight_decay"):
            if not getattr(self, name) >= 0.0:
                raise UsageError(f"train.{name} is {getattr(self, name)}; give at least 0")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UsageError(f"train.betas are {', '.join(map(str, self.betas))}; give two decays in [0, 1)")
        if not self.eps > 0.0:
            raise UsageError(f"train.eps is {self.eps}; give a positive number")
        if self.clip is not None and not self.clip > 0.0:
            raise UsageError(f"train.clip is {self.clip}; give a positive norm, or null for no clipping")
        if self.ema is not None and not 0.0 <= self.ema < 1.0:
            raise UsageError(f"train.ema is {self.ema}; give a decay in [0, 1), or null for no averaging")
