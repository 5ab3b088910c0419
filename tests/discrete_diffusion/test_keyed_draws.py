"""A seed means the sample: what is drawn of a row depends on its number, not on the rows beside it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tenfold.discrete_diffusion import DiffusionConfig, DiscreteDiffusion
from tenfold.discrete_diffusion.likelihood import bound
from tenfold.discrete_diffusion.options import MASK_ONLY, ChainOptions, Kind
from tenfold.discrete_diffusion.samplers.chain import noise, run_chain
from tenfold.discrete_diffusion.samplers.prediction import Random
from tenfold.discrete_diffusion.sampling import Steering, Template, draw

COUNT, LENGTH = 7, 6
SMALL = DiffusionConfig(vocabulary=5, width=16, layers=1, heads=2, length=LENGTH)
UNIFORM = replace(SMALL, source="uniform", view="leave_one_out", epsilon=1e-3)


def model_of(config: DiffusionConfig) -> DiscreteDiffusion:
    torch.manual_seed(0)
    model = DiscreteDiffusion(config).double().eval()  # so that rounding decides no draw
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def reward(tokens: Tensor) -> Tensor:
    return (tokens == 1).double().sum(1)


def log_ratio(clean: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
    return (clean == 2).double().sum(1)


CASES: list[tuple[DiffusionConfig, ChainOptions, Steering]] = [
    *[
        (config, ChainOptions(kind=kind, steps=4, floor=0.05), Steering())
        for kind in Kind.__args__  # type: ignore[attr-defined]
        for config in (SMALL, UNIFORM)
        if not ((kind == "gillespie" and config is SMALL) or (kind in MASK_ONLY and config is UNIFORM))
        and not (kind == "analytic" and config is SMALL)  # σ is infinite without an epsilon
    ],
    (replace(SMALL, epsilon=1e-3), ChainOptions(kind="analytic", steps=4), Steering()),
    (SMALL, ChainOptions(steps=4, corrector=0.3), Steering()),
    (SMALL, ChainOptions(kind="first_hitting", per_call=2), Steering()),
    (SMALL, ChainOptions(kind="first_hitting", values=2), Steering(reward=reward)),
    (SMALL, ChainOptions(steps=4, candidates=3), Steering(log_ratio=log_ratio)),
    (replace(SMALL, time=True), ChainOptions(steps=4, temperature=0.7, top_p=0.9), Steering()),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_batch_changes_no_sample(case: int) -> None:
    config, options, steering = CASES[case]
    model = model_of(config)
    whole = draw(model, COUNT, LENGTH, options, 3, COUNT, None, steering).tokens
    assert len(whole.unique(dim=0)) > 2
    for batch in (1, 3):
        assert torch.equal(draw(model, COUNT, LENGTH, options, 3, batch, None, steering).tokens, whole)
    assert torch.equal(draw(model, 2, LENGTH, options, 3, COUNT, None, steering).tokens, whole[:2])
    assert not torch.equal(draw(model, COUNT, LENGTH, options, 4, COUNT, None, steering).tokens, whole)


def test_a_prompt_beside_others_changes_no_sample() -> None:
    model = model_of(SMALL)
    template = Template(torch.tensor([1, 0, 0, 2, 0, 0]), torch.tensor([True, False, False, True, False, False]))
    alone = draw(model, 1, LENGTH, ChainOptions(steps=4, guidance=1.0), 3, 1, template).tokens
    beside = draw(model, COUNT, LENGTH, ChainOptions(steps=4, guidance=1.0), 3, COUNT, template).tokens
    assert torch.equal(beside[:1], alone)


@pytest.mark.parametrize("config", [SMALL, UNIFORM])
def test_chains_in_turn_have_numbers_of_their_own(config: DiffusionConfig) -> None:
    model, options = model_of(config), ChainOptions(steps=4)
    clean = torch.zeros(64, LENGTH, dtype=torch.long)
    nothing, random = torch.zeros_like(clean, dtype=torch.bool), Random(0)
    starts = [noise(model.source, clean, nothing, random) for _ in range(2)]
    chains = [run_chain(model, model.schedule, starts[0], options, random).tokens for _ in range(2)]
    assert not torch.equal(*chains)
    assert config is SMALL or not torch.equal(*starts)
    # A generator's state moves on from chain to chain.
    generator = torch.Generator().manual_seed(0)
    one, two = (run_chain(model, model.schedule, starts[0], options, generator).tokens for _ in range(2))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("config", [SMALL, UNIFORM, replace(SMALL, time=True)])
def test_the_bound_of_a_row_depends_on_its_number_alone(config: DiffusionConfig) -> None:
    model, rows = model_of(config), torch.randint(5, (COUNT, LENGTH))
    whole = bound(model, rows, 3, seed=1).nats
    torch.testing.assert_close(bound(model, rows, 3, seed=1, batch=2).nats, whole)
    index = torch.arange(COUNT)[4:]
    torch.testing.assert_close(bound(model, rows[4:], 3, seed=1, index=index).nats, whole[4:])
    shuffled = torch.randperm(COUNT)
    torch.testing.assert_close(bound(model, rows[shuffled], 3, seed=1, index=shuffled).nats, whole[shuffled])
