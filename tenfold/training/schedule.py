"""The learning rate and the averaging rate as functions of the step."""

import math

from tenfold.training.config import TrainingConfig


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """The rate of update ``step`` (0-based) as a fraction of the peak.

    Linear from ``initial_fraction`` over ``warmup_steps``, then half a cosine that reaches
    ``final_fraction`` at the last update, ``steps − 1``. It depends on ``steps``: a run that is extended
    continues on the longer cosine, from a higher rate than it had just reached.
    """
    warmup, last = config.warmup_steps, config.steps - 1
    if step < warmup:
        return config.initial_fraction + (1.0 - config.initial_fraction) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, last - warmup))
    return config.final_fraction + (1.0 - config.final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress))


def ema_decay(step: int, decay: float) -> float:
    """Decay after update ``step`` (0-based): min(decay, (1 + step) / (10 + step)), so that the average
    forgets the initial weights quickly."""
    return min(decay, (1.0 + step) / (10.0 + step))
