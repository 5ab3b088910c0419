"""Generation with exact conditionals: one token a pass draws from the chain, several do not."""

import pytest
import torch
from scipy.stats import chisquare

from tenfold.masked_lm.analysis.oracle import example_chain
from tenfold.masked_lm.decoding.sampling import diffusion_generate

DRAWS = 20_000


@pytest.fixture(scope="module")
def chain():
    return example_chain(4)


def p_value(chain, drawn):
    expected = chain.probabilities * DRAWS
    kept = expected >= 5
    counts = chain.counts(drawn).double()
    observed = torch.cat([counts[kept], counts[~kept].sum()[None]])
    return chisquare(observed, torch.cat([expected[kept], expected[~kept].sum()[None]])).pvalue


def draw(chain, **options):
    empty = torch.zeros(DRAWS, 0, dtype=torch.long)
    generator = torch.Generator().manual_seed(3)
    return diffusion_generate(
        chain, empty, max_new_tokens=chain.length, temperature=1.0, generator=generator, **options
    ).sequences


def test_conditionals(chain):
    assert float(chain.probabilities.sum()) == pytest.approx(1)
    given = torch.tensor([[3, 1, 3, 0]])
    found = chain.hidden(given).exp()[0]
    fits = (chain.sequences[:, 1] == 1) & (chain.sequences[:, 3] == 0)
    for place in (0, 2):
        for state in range(3):
            both = fits & (chain.sequences[:, place] == state)
            assert float(found[place, state]) == pytest.approx(
                float(chain.probabilities[both].sum() / chain.probabilities[fits].sum())
            )


@pytest.mark.parametrize("options", [{"alg": "entropy"}, {"alg": "topk_margin"}, {"alg": "entropy", "block_length": 1}])
def test_one_token_a_pass_is_exact(chain, options):
    assert p_value(chain, draw(chain, **options)) > 0.001


def test_remasking_in_short_steps_comes_near(chain):
    empty = torch.zeros(4000, 0, dtype=torch.long)
    for eta in (0.0, 0.05):
        drawn = diffusion_generate(
            chain, empty, max_new_tokens=chain.length, temperature=1.0, generator=torch.Generator().manual_seed(3),
            strategy="remdm", eta=eta, steps=24,
        ).sequences  # fmt: skip
        assert chain.distance(drawn) < 0.15


def test_several_tokens_a_pass_are_not(chain):
    distances = []
    for steps in (1, 2, 3):
        drawn = draw(chain, alg="entropy", steps=steps)
        assert p_value(chain, drawn) < 1e-12
        distances.append(chain.distance(drawn))
    assert distances[0] > distances[1] > distances[2] > 0.1
    assert distances[0] > 0.5


def test_a_rank_that_looks_at_the_proposal_is_not(chain):
    # The most probable proposal goes first: likely tokens are drawn too often, even one a pass.
    assert p_value(chain, draw(chain, alg="maskgit_plus")) < 1e-12
