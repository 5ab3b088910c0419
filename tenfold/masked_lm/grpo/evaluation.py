"""What tuning by rewards changed: rewards of completions of test prompts and their parts, how near to left-to-right
they are revealed, how long they are."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tenfold.figures import histograms, write_captions
from tenfold.masked_lm.analysis.order import global_ar, local_ar, mean_and_error, orders_of_steps
from tenfold.masked_lm.grpo.options import GrpoEvaluation
from tenfold.masked_lm.grpo.prompts import PromptRows
from tenfold.masked_lm.grpo.rollouts import Completed, complete, rewarded, texts_of
from tenfold.masked_lm.model import MaskedLM
from tenfold.rl.programs import TextReward, WeightedReward
from tenfold.runs.measurement import Measurement, interval

_SEED = 1


def measure_rewards(
    models: Mapping[str, MaskedLM], rows: PromptRows, tokens: int, options: GrpoEvaluation, reward: TextReward
) -> tuple[list[Measurement], dict[str, Tensor]]:
    """Rows of ``evaluation.json``, of each model with the same draws, and the rewards of each, (prompts, samples).
    Errors and intervals are over prompts; "reward_gain" is what the first model has over the others, prompt by prompt.
    """
    found, rewards = [], dict[str, Tensor]()
    for name, model in models.items():
        drawn = _completed(model, rows, tokens, options)
        each = _rewards(model, drawn, rows, options, reward)
        rewards[name], count = each["reward"], each["reward"].numel()
        note = f"temperature {options.temperature:g}, {options.samples} completions of a prompt"
        found.append(_mean("mean_reward", rewards[name].mean(1).tolist(), name, count, note))
        best = "best of the completions of a prompt"
        found.append(_mean("best_reward", rewards[name].amax(1).tolist(), name, count, best))
        for part, values in each.items():
            if part != "reward":
                shares = values.mean(1)
                low, high = interval(shares.mean().item(), len(shares))
                told = f"95 % interval {low:.3g} to {high:.3g} over {len(shares)} prompts"
                found.append(_mean(f"{part}_share", shares.tolist(), name, count, told))
        found.append(_mean("completion_tokens", drawn.valid.sum(1).tolist(), name, count))
        orders = orders_of_steps(drawn.order, drawn.confidence) if tokens > 1 else []
        for label, of in (("local_ar", local_ar), ("global_ar", global_ar)):
            shares_of = [of(order) for order in orders if len(order) > 1]
            if shares_of:
                found.append(_mean(label, shares_of, name, count, "at 1"))
    first, *others = rewards
    for other in others:
        gain = (rewards[first] - rewards[other]).mean(1).tolist()
        found.append(_mean("reward_gain", gain, first, rewards[first].numel(), f"over {other}, prompt by prompt"))
    return found, rewards


def rewards_of_prompts(
    model: MaskedLM, rows: PromptRows, tokens: int, options: GrpoEvaluation, reward: TextReward
) -> Tensor:
    """Rewards of completions of the test prompts, (prompts, samples)."""
    return _rewards(model, _completed(model, rows, tokens, options), rows, options, reward)["reward"]


def draw_rewards(rewards: Tensor, directory: Path) -> list[Path]:
    """Rewards as a histogram: a PNG file with its caption."""
    directory.mkdir(parents=True, exist_ok=True)
    path = histograms({"completions": rewards}, directory / "rewards.png", "reward")
    write_captions(directory, {path.name: f"Rewards of {rewards.numel()} completions of test prompts."})
    return [path]


def _completed(model: MaskedLM, rows: PromptRows, tokens: int, options: GrpoEvaluation) -> Completed:
    number = min(options.prompts or len(rows), len(rows))
    batch, place = rows.batch(torch.arange(number).numpy()), model.device
    given = batch["prompts"].to(place), batch["real"].to(place), options.samples, options.generation(tokens), _SEED
    return complete(model, *given, range(number), options.batch)


def _rewards(
    model: MaskedLM, drawn: Completed, rows: PromptRows, options: GrpoEvaluation, reward: TextReward
) -> dict[str, Tensor]:
    """The "reward" of each completion, (prompts, samples), and its parts where it is a weighted sum."""
    problems = rows.problems[: len(drawn.prompts) // options.samples]
    if not isinstance(reward, WeightedReward):
        return {"reward": rewarded(model, drawn, problems, options.samples, reward).cpu()}
    every = [problem for problem in problems for _ in range(options.samples)]
    parts = reward.each(texts_of(model, drawn), every)
    return {
        name: torch.tensor(values).view(-1, options.samples)
        for name, values in {"reward": reward.total(parts), **parts}.items()
    }


def _mean(name: str, values: list[float], model: str, draws: int, note: str = "") -> Measurement:
    mean, error = mean_and_error(values)
    return Measurement(name, mean, "", "test", model, error, draws, note)
