"""Options become objects at one place, and the objects serve without them."""

import pytest
import torch

from tenfold.data.text.config import CodeDataConfig
from tenfold.masked_lm import (
    BlockPasses,
    CarriedSchedule,
    EntropyBound,
    ExactSchedule,
    Factor,
    GenerationOptions,
    MaskedLMTask,
    ReferenceSchedule,
    ReMDM,
    ReverseProcess,
    Threshold,
    TopK,
)
from tenfold.masked_lm.decoding.sampling import passes, schedule, strategy
from tenfold.masked_lm.decoding.schedules import RevealSchedule
from tenfold.masked_lm.decoding.strategies import FirstOfBlock
from tenfold.masked_lm.recipes import MaskedLMRecipe
from tests.masked_lm.generating import random_model

RANKED = {"alg": "entropy"}


@pytest.mark.parametrize(
    ("options", "rule", "plan"),
    [
        (RANKED | {"alg_temp": 0.5}, TopK(0.5), ExactSchedule),
        (RANKED | {"schedule": "reference"}, TopK(), ReferenceSchedule),
        (RANKED | {"threshold": 0.9}, Threshold(0.9), RevealSchedule),
        (RANKED | {"threshold": 0.9, "carry": True}, Threshold(0.9), CarriedSchedule),
        (RANKED | {"factor": 1.0}, Factor(1.0), RevealSchedule),
        (RANKED | {"gamma": 0.5}, EntropyBound(0.5), RevealSchedule),
        (RANKED | {"cache": "dual", "first_token": "reference"}, FirstOfBlock(TopK()), ExactSchedule),
        ({"strategy": "remdm", "sigma": "loop", "eta": 0.2}, ReMDM("loop", 0.2), RevealSchedule),
    ],
)
def test_a_rule_and_a_plan(options, rule, plan):
    made = GenerationOptions(**options)
    assert strategy(made) == rule
    assert type(schedule(made, 3)(torch.tensor([5, 2]))) is plan


def test_the_reverse_process_is_no_ranking():
    assert isinstance(strategy(GenerationOptions()), ReverseProcess)


def test_plans_end_with_their_steps_or_with_the_masks():
    masks = torch.tensor([5, 2])
    assert ExactSchedule(masks, 3).limit == 3
    assert ExactSchedule(masks).limit == 5
    carried = CarriedSchedule(masks, 3, bounded=False)
    assert carried.limit == 5
    quotas = carried.quotas(0, masks)
    assert quotas.tolist() == [2, 1]
    carried.chose(quotas, torch.tensor([[True, False], [True, False]]))
    assert carried.quotas(1, torch.tensor([4, 1])).tolist() == [3, 1]


def test_zero_refreshes_as_each_cache_does():
    model = random_model()
    made = {
        name: passes(model, GenerationOptions(alg="entropy", cache=name), None, None, 0).refresh
        for name in ("prefix", "dual", "delayed", "block_delayed", "adaptive")
    }
    assert made == {"prefix": 0, "dual": 0, "delayed": 8, "block_delayed": 0, "adaptive": 8}
    dual = passes(model, GenerationOptions(alg="entropy", cache="dual", refresh=3), None, None, 0)
    assert isinstance(dual, BlockPasses)
    assert (dual.refresh, dual.right) == (3, False)


def test_a_task_moves_what_it_reads_later(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path)
    task = MaskedLMTask(MaskedLMRecipe(model=model.config, data=CodeDataConfig(length=32)))
    task.to("cpu", torch.bfloat16)
    assert {p.dtype for p in task.model.parameters()} == {torch.bfloat16}
    task.load(tmp_path)
    assert {p.dtype for p in task.model.parameters()} == {torch.bfloat16}
    task.to("cpu", torch.float64)
    assert {p.dtype for p in task.model.parameters()} == {torch.float64}
