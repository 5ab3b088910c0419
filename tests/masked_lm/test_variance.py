"""The study of estimators: known variances, the verb on a model, draws that no batch changes, bad options."""

from pathlib import Path

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm import EstimatorAnalysis, GrpoRecipe
from tenfold.masked_lm.grpo.options import PromptConfig
from tenfold.masked_lm.grpo.prompts import read_prompts
from tenfold.masked_lm.grpo.rollouts import Completed
from tenfold.masked_lm.grpo.task import CoupledGrpoTask
from tenfold.masked_lm.grpo.variance import disagreement, ratio_and_error, repeated, study_estimators, variances
from tenfold.text.tokenizer import ByteTokenizer
from tests.masked_lm.helpers import tiny

OPTIONS = EstimatorAnalysis(prompts=5, repeats=24, batch=64)


def test_variances_of_numbers_that_are_known() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, 2, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0])
    valid = torch.tensor([[True, True, True], [True, True, False]])
    by_token, by_sum = variances(draws, valid)
    torch.testing.assert_close(by_token, torch.tensor([14 / 3, 2.5]).double(), rtol=0.1, atol=0)
    torch.testing.assert_close(by_sum, torch.tensor([14.0, 5.0]).double(), rtol=0.1, atol=0)
    same = [value.mean() for value in disagreement(draws[:2000], draws[2000:], valid)]
    apart = [value.mean() for value in disagreement(draws[:2000], draws[2000:] + 1, valid)]
    assert max(same) < 8 < 100 < min(apart)
    value, error = ratio_and_error([3.0, 1.0, 2.0], [1.0, 1.0, 1.0])
    assert value == pytest.approx(2)
    assert error == pytest.approx(3**-0.5)


def test_the_study_of_a_model() -> None:
    torch.manual_seed(3)
    model = tiny()
    for parameter in model.parameters():  # logits that differ
        parameter.data *= 3
    rows = read_prompts(PromptConfig(most_tokens=6), ByteTokenizer(), 256).test
    found = study_estimators(model, rows, 6, OPTIONS)
    values = {(row.name, row.model): row.value for row in found.rows}
    assert values["variance_ratio_by_token", "decoupled / coupled"] > 1.5
    assert 0.5 < values["disagreement_by_token", "coupled − decoupled"] < 1.6
    ratio = values["variance_by_token", "decoupled"] / values["variance_by_token", "coupled"]
    assert values["variance_ratio_by_token", "decoupled / coupled"] == pytest.approx(ratio)
    assert sum(name == "variance_by_sequence" for name, _ in values) == 5


def test_no_batch_changes_a_draw() -> None:
    model = tiny()
    tokens = torch.randint(256, (3, 5), generator=torch.Generator().manual_seed(0))
    there = torch.ones_like(tokens, dtype=torch.bool)
    drawn = Completed(tokens, there, tokens, there, tokens, tokens.float())
    one, other = (
        repeated(model, drawn, "coupled", True, EstimatorAnalysis(repeats=4, batch=batch)) for batch in (5, 64)
    )
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert (one[0] - one[1]).abs().max() > 1e-3


def test_the_verb(tmp_path: Path) -> None:
    tiny(layers=1).save_pretrained(tmp_path / "start")
    recipe = GrpoRecipe(data=PromptConfig(most_tokens=6, tokens=4))
    task = CoupledGrpoTask(recipe)
    task.load(tmp_path / "start")
    found = task.analyse(EstimatorAnalysis(prompts=2, repeats=2), tmp_path)
    assert {row.name for row in found.rows} >= {"variance_by_token", "disagreement_by_sequence", "mean_estimate"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompts": 1}, "prompts is 1; give at least 2"),
        ({"repeats": 1}, "repeats is 1; give at least 2"),
        ({"least_time": 0.5}, "least_time is 0.5; give a time between 0 and 0.5"),
        ({"temperature": float("nan")}, "temperature"),
    ],
)
def test_bad_options(changes: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        EstimatorAnalysis(**changes)  # type: ignore[arg-type]
