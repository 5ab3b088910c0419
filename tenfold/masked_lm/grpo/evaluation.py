"""What tuning by rewards changed: rewards of completions of test prompts, how near to left-to-right they are revealed,
how long they are."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tenfold.figures import histograms, write_captions
from tenfold.masked_lm.analysis.order import global_ar, local_ar, mean_and_error, orders_of_steps
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.grpo.options import GrpoEvaluation
from tenfold.masked_lm.grpo.prompts import PromptRows
from tenfold.masked_lm.grpo.rollouts import Completed, complete, rewarded
from tenfold.masked_lm.model import MaskedLM
from tenfold.rl.programs import TextReward
from tenfold.runs.measurement import Measurement

_SEED = 1


def measure_rewards(
    models: Mapping[str, MaskedLM], rows: PromptRows, tokens: int, options: GrpoEvaluation, reward: TextReward
) -> list[Measurement]:
    """Rows of ``evaluation.json``: of each model, with the same draws. Errors are over prompts."""
    found = []
    for name, model in models.items():
        drawn, rewards = _completed(model, rows, tokens, options, reward)
        count = rewards.numel()
        note = f"temperature {options.temperature:g}, {options.samples} completions of a prompt"
        found.append(_mean("mean_reward", rewards.mean(1).tolist(), name, count, note))
        best = "best of the completions of a prompt"
        found.append(_mean("best_reward", rewards.amax(1).tolist(), name, count, best))
        found.append(_mean("completion_tokens", drawn.valid.sum(1).tolist(), name, count))
        orders = orders_of_steps(drawn.order, drawn.confidence) if tokens > 1 else []
        for label, of in (("local_ar", local_ar), ("global_ar", global_ar)):
            values = [of(order) for order in orders if len(order) > 1]
            if values:
                found.append(_mean(label, values, name, count, "at 1"))
    return found


def draw_rewards(
    model: MaskedLM, rows: PromptRows, tokens: int, options: GrpoEvaluation, reward: TextReward, directory: Path
) -> list[Path]:
    """The rewards of completions of the test prompts as a histogram: a PNG file with its caption."""
    directory.mkdir(parents=True, exist_ok=True)
    _, rewards = _completed(model, rows, tokens, options, reward)
    path = histograms({"completions": rewards}, directory / "rewards.png", "reward")
    write_captions(directory, {path.name: f"Rewards of {rewards.numel()} completions of test prompts."})
    return [path]


def _completed(
    model: MaskedLM, rows: PromptRows, tokens: int, options: GrpoEvaluation, reward: TextReward
) -> tuple[Completed, Tensor]:
    number = min(options.prompts or len(rows), len(rows))
    batch = rows.batch(torch.arange(number).numpy())
    sampling = GenerationOptions(max_new_tokens=tokens, temperature=options.temperature, alg="entropy")
    place = model.device
    given = batch["prompts"].to(place), batch["real"].to(place), options.samples, sampling, _SEED, range(number)
    drawn = complete(model, *given, options.batch)
    return drawn, rewarded(model, drawn, rows.problems[:number], options.samples, reward).cpu()


def _mean(name: str, values: list[float], model: str, draws: int, note: str = "") -> Measurement:
    mean, error = mean_and_error(values)
    return Measurement(name, mean, "", "test", model, error, draws, note)
