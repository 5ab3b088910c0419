"""Orders and what is said about them."""

import json
import math

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.analysis import order as analysis
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tests.masked_lm.generating import FOLDER, prompts, random_model

RECORDED = json.loads((FOLDER / "arness.json").read_text())
NAMES = {
    f"local_{short}_{boundary}": {"match": match, "boundary": boundary}
    for short, match in (("seq", "sequence"), ("set", "set"))
    for boundary in ("valid", "prompt", "paper")
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_fractions(name):
    order = RECORDED[name]["order"]
    for k, metrics in RECORDED[name]["metrics"].items():
        for metric, value in metrics.items():
            ours = (
                analysis.global_ar(order, int(k))
                if metric == "global_"
                else analysis.local_ar(order, int(k), **NAMES[metric])
            )
            assert ours == value, (metric, k)


def test_left_to_right_and_its_reverse():
    there, back = list(range(12)), list(range(12))[::-1]
    for k in range(1, 10):
        assert analysis.local_ar(there, k) == analysis.global_ar(there, k) == 1
        assert analysis.local_ar(there, k, boundary="prompt") == 1
        assert analysis.local_ar(back, k) == 0
        assert analysis.global_ar(back, k) == k / 12


def test_monotone_in_k():
    generator = np.random.default_rng(0)
    for _ in range(20):
        order = (np.arange(14) + generator.normal(0, 1.5, 14)).argsort().tolist()
        for options in NAMES.values():
            if options["boundary"] != "valid":  # its denominator moves with k
                values = [analysis.local_ar(order, k, **options) for k in range(1, 10)]
                if options["match"] == "sequence":
                    assert values == sorted(values, reverse=True)
        values = [analysis.global_ar(order, k) for k in range(1, 10)]
        assert values == sorted(values)


def test_bad_orders():
    for order, k, words in (([0, 2], 1, "no permutation"), ([], 1, "no permutation"), ([1, 0], 2, "k is 2")):
        with pytest.raises(UsageError, match=words):
            analysis.local_ar(order, k)
    with pytest.raises(UsageError, match="did you mean 'sequence'"):
        analysis.local_ar([0, 1], 1, match="sequense")
    with pytest.raises(UsageError, match="valid, prompt, paper"):
        analysis.local_ar([0, 1], 1, boundary="x")


def test_orders_of_generations():
    steps = torch.tensor([[-1, 1, 0, 1, -1], [0, 0, 0, 0, -1]])
    sure = torch.tensor([[0.0, 0.2, 0.5, 0.9, 0.0], [0.4, 0.3, 0.8, 0.1, 0.0]])
    assert analysis.orders_of_steps(steps, sure) == [[1, 2, 0], [2, 0, 1, 3]]
    assert analysis.orders_of_steps(steps, ties="left-to-right") == [[1, 0, 2], [0, 1, 2, 3]]
    with pytest.raises(UsageError, match="needs the confidences"):
        analysis.orders_of_steps(steps)


@pytest.mark.parametrize("options", [{"alg": "entropy"}, {"alg": "maskgit_plus", "threshold": 0.2}])
def test_history_and_record_agree(options):
    model = random_model()
    found = diffusion_generate(model, prompts(), max_new_tokens=10, output_history=True, **options)
    first = torch.cat([prompts(), torch.full((2, 10), model.special.mask)], dim=1)
    assert torch.equal(analysis.steps_of_history(found.history, first, model.special.mask), found.order)
    assert [sorted(order) for order in analysis.orders(found)] == [list(range(10))] * 2
    assert analysis.tokens_per_pass(found) == 10 / found.nfe
    made = analysis.summary(analysis.orders(found))
    assert (len(made["local"]), len(made["global"])) == (9, 4)


def test_entropy_map_and_sink():
    model = random_model()
    watch = analysis.EntropyMap(model.special.mask, 6)
    found = diffusion_generate(
        model, prompts(), max_new_tokens=10, alg="entropy", suppress_mask=False, generation_logits_hook_func=watch
    )
    values = watch.values()
    assert values.shape == (10, 10)
    plain = diffusion_generate(model, prompts(), max_new_tokens=10, alg="entropy", suppress_mask=False)
    assert torch.equal(found.sequences, plain.sequences)
    assert (values[0] <= 0).all()
    assert np.isnan(values[-1]).sum() >= 8
    expected = values[0, 0] - values[0, 1:].mean()
    assert analysis.sink_score(values) == pytest.approx(float(expected), rel=1e-5)
    assert analysis.sink_score([0.0] * 2 + [-1.0] * 18) == 1
    with pytest.raises(UsageError, match="two positions"):
        analysis.sink_score([1.0])


def test_pass_at_k_is_the_mean_over_subsets():
    from itertools import combinations

    for n, c, k in ((6, 2, 1), (6, 2, 3), (5, 5, 2), (4, 0, 4), (7, 3, 5)):
        outcome = [True] * c + [False] * (n - c)
        subsets = list(combinations(outcome, k))
        assert analysis.pass_at_k(n, c, k) == pytest.approx(sum(any(s) for s in subsets) / len(subsets))
    with pytest.raises(UsageError, match="pass@3"):
        analysis.pass_at_k(2, 1, 3)
    assert math.isclose(analysis.pass_at_k(100, 50, 1), 0.5)
