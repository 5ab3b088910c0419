"""What enters by the face of rewards and preferences: right, or one sentence. A name of the face that is in no table
must be excused."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import tenfold.rl as face
from tenfold.errors import UsageError
from tests.sweeping import refused, sweep

torch.manual_seed(5)
LOGS = -torch.rand(3, 4)
REWARDS = torch.tensor([[0.5, 1.0, -0.5, 0.0], [1.0, 0.0, 2.0, 0.5], [0.0, 0.25, 1.0, 3.0]])
VALID = torch.tensor([[True, True, False, True], [True, False, True, True], [True, True, True, True]])
POSTERIOR = torch.randn(3, 4, 5).log_softmax(-1)
CLEAN = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1], [0, 0, 1, 4]])
POOL = face.Pool(torch.arange(12).view(6, 2), torch.linspace(-1, 1, 6))
WEIGHTS = face.group_weights(REWARDS)
ADVANTAGE = torch.tensor([0.5, -1.0, 0.25])
OTHER = torch.randn(3, 4, 5).log_softmax(-1)
SPREAD = torch.tensor([0.25, 0.5, 0.25])
# Function, arguments, and those whose NaN have a meaning of their own.
ENTRIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "advantages": ({"rewards": REWARDS}, ()),
    "until_end": ({"tokens": CLEAN, "ends": (4,)}, ()),
    "surrogate": ({"log_p": LOGS, "old": LOGS.flip(0), "advantage": ADVANTAGE, "low": 0.2, "high": 0.2}, ()),
    "reference_penalty": ({"log_p": LOGS, "reference": LOGS.flip(0)}, ()),
    "policy_loss": (
        {"log_p": LOGS, "old": LOGS.flip(0), "advantage": ADVANTAGE, "valid": VALID, "clip": (0.2, 0.2),
         "beta": 0.1, "reference": LOGS.flip(1)},
        (),
    ),
    "drift": (
        {"log_posterior": POSTERIOR, "log_reference": OTHER, "active": VALID, "weight": SPREAD}, ()
    ),
    "gain": (
        {"log_model": POSTERIOR, "log_reference": OTHER, "clean": CLEAN, "active": VALID, "weight": SPREAD}, ()
    ),
    "paired": ({"pool": POOL, "uniforms": SPREAD}, ()),
    "preference_loss": ({"winner": LOGS, "loser": 2 * LOGS.flip(0), "beta": 0.5}, ()),
    "tilt": ({"rewards": REWARDS[0], "beta": 0.5}, ()),
    "tilt_within": ({"rewards": REWARDS[0], "budget": 0.5}, ()),
    "resampled": ({"weights": torch.tensor([0.25, 0.25, 0.5])}, ()),
    "group_weights": ({"rewards": REWARDS}, ("rewards",)),
    "signed_loss": ({"log_likelihood": LOGS, "weights": WEIGHTS, "clip": 5.0}, ()),
    "stepwise_loss": ({"log_likelihood": POSTERIOR, "weights": WEIGHTS, "clip": 5.0}, ()),
    "prediction_likelihood": ({"log_posterior": POSTERIOR, "predicted": CLEAN, "masked": VALID}, ()),
    "self_normalised": ({"log_model": LOGS, "rewards": REWARDS, "beta": 2.0}, ()),
}  # fmt: skip
# Texts, modules, numbers and containers: tested below and in the files of their own.
EXCUSED = {
    *("PolicyLoss", "Pairs", "GroupWeights", "Pool", "Reward", "Tilt", "TextReward", "TestReward", "WeightedReward"),
    *("fenced_program", "form_only", "format_reward", "check_frozen", "next_penalty"),
}


def test_every_name_of_the_face_is_swept_or_excused() -> None:
    assert set(ENTRIES) | EXCUSED == set(face.__all__)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENTRIES)
def test_tensors(name: str) -> None:
    given, unknown = ENTRIES[name]
    sweep(getattr(face, name), given, unknown)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("advantages", {"baseline": "men"}),
        ("advantages", {"scaled": "x"}),
        ("advantages", {"rewards": REWARDS[:, :1]}),
        ("until_end", {"ends": (1.5,)}),
        ("until_end", {"ends": "x"}),
        ("surrogate", {"low": -0.1}),
        ("surrogate", {"low": 1.1}),
        ("surrogate", {"high": math.nan}),
        ("policy_loss", {"beta": math.nan}),
        ("policy_loss", {"beta": -1.0}),
        ("policy_loss", {"reference": None}),
        ("policy_loss", {"clip": (0.2,)}),
        ("policy_loss", {"clip": (0.2, math.inf)}),
        ("policy_loss", {"count": 0}),
        ("policy_loss", {"count": math.nan}),
        ("policy_loss", {"count": torch.tensor([1.0, 2.0])}),
        ("policy_loss", {"valid": torch.zeros(3, 4, dtype=torch.bool)}),
        ("gain", {"clean": CLEAN + 3}),
        ("gain", {"log_reference": POSTERIOR.masked_fill(torch.ones(3, 4, 5).bool(), -math.inf)}),
        ("drift", {"log_reference": OTHER + math.inf}),
        ("paired", {"uniforms": SPREAD + 1}),
        ("paired", {"pool": face.Pool(POOL.tokens[:4], POOL.rewards[:4])}),
        ("paired", {"pool": face.Pool(POOL.tokens, POOL.rewards * math.nan)}),
        ("preference_loss", {"beta": 0.0}),
        ("preference_loss", {"beta": math.nan}),
        ("preference_loss", {"winner": LOGS[:, :0], "loser": LOGS[:, :0]}),
        ("tilt", {"beta": -1}),
        ("tilt", {"rewards": torch.zeros(0)}),
        ("tilt_within", {"budget": 0.0}),
        ("tilt_within", {"rewards": torch.zeros(0)}),
        ("resampled", {"weights": torch.tensor([-0.5, 1.5])}),
        ("resampled", {"weights": torch.zeros(3)}),
        ("group_weights", {"policy": math.nan}),
        ("group_weights", {"rewards": REWARDS + math.inf}),
        ("group_weights", {"rewards": REWARDS[:, :0]}),
        ("signed_loss", {"clip": -1.0}),
        ("signed_loss", {"weights": face.GroupWeights(WEIGHTS.positive[:, :1], *WEIGHTS[1:])}),
        ("signed_loss", {"weights": face.GroupWeights(WEIGHTS.positive * math.nan, *WEIGHTS[1:])}),
        ("stepwise_loss", {"log_likelihood": POSTERIOR[..., :0]}),
        ("prediction_likelihood", {"predicted": CLEAN - 1}),
        ("self_normalised", {"rewards": REWARDS[:, :0], "log_model": LOGS[:, :0]}),
        ("self_normalised", {"beta": math.inf}),
    ],
)
def test_values(name: str, wrong: dict[str, Any]) -> None:
    refused(lambda: getattr(face, name)(**{**ENTRIES[name][0], **wrong}), wrong)


def test_numbers_of_penalties() -> None:
    assert face.next_penalty(np.float32(1.0), 3, 1.0, 0.1) > 1
    for bad in ((1.0, 1.0, 0.0, 0.1), (1.0, math.nan, 1.0, 0.1), (-1.0, 1.0, 1.0, 0.1), ("x", 1.0, 1.0, 0.1)):
        refused(lambda bad=bad: face.next_penalty(*bad), bad)


def test_what_counts_for_nothing_may_be_anything() -> None:
    """Estimates of tokens behind the end; gradients too."""
    given, _ = ENTRIES["policy_loss"]
    log_p = LOGS.clone().requires_grad_()
    spoilt = torch.where(VALID, log_p, torch.tensor(-math.inf))
    found = face.policy_loss(**{**given, "log_p": spoilt, "old": given["old"].masked_fill(~VALID, math.nan)})
    assert torch.equal(found.loss.detach(), face.policy_loss(**given).loss)
    (gradient,) = torch.autograd.grad(found.loss, log_p)
    assert bool(gradient.isfinite().all())
    with pytest.raises(UsageError, match="log_p holds NaN or infinite"):
        face.policy_loss(**{**given, "log_p": LOGS * math.nan})


def test_programs_and_rewards_of_texts() -> None:
    for bad in (None, 5, b"x", ["a"]):
        refused(lambda bad=bad: face.format_reward(bad), bad)
        refused(lambda bad=bad: face.fenced_program(bad), bad)
    for weight in (math.nan, math.inf, True):
        refused(lambda weight=weight: face.WeightedReward({"a": (weight, face.form_only)}), weight)
    for answer in (np.ones(2, dtype=np.float32), torch.ones(2), [np.float32(1), np.int64(1)], (1, 1.0)):
        reward = face.WeightedReward({"a": (2.0, lambda texts, tasks, answer=answer: answer)})
        assert reward(["x", "y"], [{}, {}]) == [2.0, 2.0]
    for answer in (None, "ab", [1.0], [1.0, True], [1.0, "x"], [1.0, math.nan], torch.ones(2, 1), 5.0):
        reward = face.WeightedReward({"a": (2.0, lambda texts, tasks, answer=answer: answer)})
        refused(lambda reward=reward: reward(["x", "y"], [{}, {}]), answer)


def test_a_reference_is_a_module_of_its_own() -> None:
    student = torch.nn.Linear(2, 2)
    refused(lambda: face.check_frozen(student, student), "shared")
