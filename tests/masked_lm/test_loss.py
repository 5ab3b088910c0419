"""The objective against the fixtures, and against sums over all masks and all orders."""

import math
from itertools import permutations
from pathlib import Path

import pytest
import torch
from numpy.polynomial.legendre import leggauss

from tenfold.discrete import Cosine, Linear
from tenfold.errors import UsageError
from tenfold.masked_lm import loss
from tenfold.masked_lm.likelihood import autoregressive_nll, mdm_nll, sampled_losses
from tenfold.masked_lm.loss import Noised
from tests.masked_lm.helpers import arrays, fixture_model, tiny


def test_fixtures_of_the_loss(fixtures: Path) -> None:
    ref = arrays(fixtures, "loss")
    noised = Noised(ref["xt"], ref["mask"], 1 / ref["t"].double())
    bounds = loss.bound(ref["token_nll"], noised)
    expected = {
        "none": ref["loss_sum"],
        "token": ref["loss_token_mean"],
        "sequence": ref["loss_sequence_mean"],
        "batch": ref["loss_batch_mean"],
    }
    torch.testing.assert_close(bounds, ref["loss_per_sequence"], rtol=1e-9, atol=0)
    for by, value in expected.items():
        torch.testing.assert_close(loss.normalised(bounds, ref["maskable"], by), value, rtol=1e-9, atol=0)
    model = fixture_model(fixtures)
    with torch.no_grad():
        nll = model(ref["xt"], ref["clean_ids"], ref["mask"])
    torch.testing.assert_close(nll.double(), ref["token_nll"] * ref["mask"], atol=1e-5, rtol=0)
    ours = loss.bound(nll.double(), noised)
    torch.testing.assert_close(ours, ref["loss_per_sequence"], atol=0, rtol=1e-5)
    # The reference's masks come out of the same rule, with its own u < t.
    again = loss.mask_at_times(ref["clean_ids"], ref["mask"], torch.ones(2), torch.zeros(ref["mask"].shape), 95)
    assert torch.equal(again.tokens, ref["xt"])


@pytest.fixture(scope="module")
def enumerated() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sequence (6,), all 2^5 masks (32, 6), and −log p(x^n | masked x) of the masked tokens (32, 6), in float64."""
    torch.manual_seed(1)
    model = tiny(vocab_size=258).double()
    clean = torch.randint(0, 256, (6,))
    masks = torch.tensor([[False, *(bool(k >> i & 1) for i in range(5))] for k in range(32)])
    rows = clean.expand(32, -1)
    with torch.no_grad():
        logits = model.network(input_ids=torch.where(masks, model.special.mask, rows)).logits
    logp = torch.cat([logits[:, :1], logits[:, :-1]], dim=1).log_softmax(-1)
    return clean, masks, -logp.gather(-1, rows[..., None])[..., 0] * masks


def test_integral_over_time_is_the_average_over_orders(enumerated: tuple[torch.Tensor, ...]) -> None:
    _, masks, nll = enumerated
    number = {tuple(m.tolist()): i for i, m in enumerate(masks)}
    chain = 0.0
    for order in permutations(range(1, 6)):  # revealed one by one
        hidden = [n in order for n in range(6)]
        for place in order:
            chain += nll[number[tuple(hidden)], place].item() / math.factorial(5)
            hidden[place] = False
    # In time: Σ_masks ∫ (1/t) t^k (1 − t)^(5 − k) dt Σ CE, by Gauss-Legendre quadrature (exact for polynomials).
    nodes, weights = (torch.from_numpy(a) for a in leggauss(8))
    t, k = (nodes + 1) / 2, masks.sum(1, keepdim=True)
    integral = (weights / 2 * t ** (k - 1) * (1 - t) ** (5 - k)).sum(1)
    per_mask = nll.sum(1)
    in_time = (integral * per_mask)[1:].sum().item()
    # In the number of masks: the mean over l of L/l times the mean over masks of that size.
    sizes = k[:, 0]
    in_count = sum((5 / n) * per_mask[sizes == n].mean().item() for n in range(1, 6)) / 5
    assert in_time == pytest.approx(chain, abs=1e-9)
    assert in_count == pytest.approx(chain, abs=1e-9)


@pytest.mark.parametrize("estimator", ["count", "time"])
def test_estimates_meet_the_exact_bound(enumerated: tuple[torch.Tensor, ...], estimator: str) -> None:
    clean, masks, nll = enumerated
    sizes = masks.sum(1)
    exact = sum((5 / n) * nll.sum(1)[sizes == n].mean().item() for n in range(1, 6)) / 5
    torch.manual_seed(1)
    model = tiny(vocab_size=258).double()
    found = mdm_nll(model, clean.expand(2000, -1), 2, estimator, epsilon=1e-6, batch=1000)
    mean, error = found.nats.mean().item(), found.nats.std().item() / math.sqrt(2000)
    assert abs(mean - exact) < 4 * error
    assert error < 0.05 * exact


def test_standard_error_of_rows_is_that_of_repetitions() -> None:
    model, tokens = tiny(), torch.randint(0, 256, (1, 12)).expand(400, -1)
    found = mdm_nll(model, tokens, 4, "count", batch=400)
    # Stratified draws vary less than the formula for independent ones says, never more.
    assert found.nats.std() < 1.2 * found.standard_error.mean()
    assert mdm_nll(model, tokens[:2], 1).standard_error.isnan().all()


def test_bits_per_byte() -> None:
    found = mdm_nll(tiny(), torch.randint(0, 256, (8, 12)), 2)
    value, error = found.bits_per_byte(torch.full((8,), 11))
    assert value == pytest.approx(found.nats.sum().item() / 88 / math.log(2))
    assert error == pytest.approx(found.nats.std().item() / math.sqrt(8) / 11 / math.log(2))
    with pytest.raises(UsageError, match="no byte to be scored"):
        found.bits_per_byte(torch.zeros(8, dtype=torch.long))


def test_prompts_and_first_tokens_are_not_masked() -> None:
    clean = torch.randint(0, 256, (64, 16))
    maskable = torch.ones(64, 16, dtype=torch.bool)
    maskable[:, :7] = False
    for noised in (
        loss.mask_at_times(clean, maskable, torch.ones(64), torch.rand(64, 16), 257),
        loss.mask_counts(clean, maskable, torch.full((64,), 0.9999), torch.rand(64, 16), 257),
    ):
        assert torch.equal(noised.masked, maskable)
        assert torch.equal(noised.tokens[:, :7], clean[:, :7])
        assert (noised.tokens[:, 7:] == 257).all()
        torch.testing.assert_close(noised.weight, torch.ones(64))


def test_weights_of_both_forms() -> None:
    clean, maskable = torch.zeros(2, 10, dtype=torch.long), torch.ones(2, 10, dtype=torch.bool)
    t = torch.tensor([0.25, 0.5])
    assert loss.mask_at_times(clean, maskable, t, torch.rand(2, 10), 5).weight.tolist() == [4.0, 2.0]
    noised = loss.mask_counts(clean, maskable, torch.tensor([0.0, 0.45]), torch.rand(2, 10), 5)
    assert noised.masked.sum(1).tolist() == [1, 5]
    assert noised.weight.tolist() == [10.0, 2.0]
    cosine = loss.mask_at_times(clean, maskable, t, torch.rand(2, 10), 5, Cosine())
    assert not torch.allclose(
        cosine.weight, loss.mask_at_times(clean, maskable, t, torch.rand(2, 10), 5, Linear()).weight
    )


def test_what_has_no_loss_is_refused() -> None:
    clean, maskable = torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool)
    for t in (0.0, 1.5, math.nan):
        with pytest.raises(UsageError, match=r"a time is .*; masking is defined for t in \(0, 1\]"):
            loss.mask_at_times(clean, maskable, torch.tensor([0.5, t]), torch.rand(2, 4), 5)
    with pytest.raises(UsageError, match="no token of the batch may be masked"):
        loss.normalised(torch.zeros(2), ~maskable)
    with pytest.raises(UsageError, match="no token of the rows may be masked"):
        mdm_nll(tiny(), clean, maskable=~maskable)
    with pytest.raises(UsageError, match="n_samples is 0"):
        mdm_nll(tiny(), clean, 0)


@torch.no_grad()
def test_annealing_goes_from_causal_to_full() -> None:
    model, tokens = tiny(), torch.randint(0, 256, (2, 10))
    u = torch.rand(10, 10)
    start = model.hidden(tokens, loss.annealed_attention(u, 0, 50))
    model.network.config.is_causal = True
    causal = model.hidden(tokens)
    model.network.config.is_causal = False
    torch.testing.assert_close(start, causal, atol=1e-6, rtol=0)
    for step in (50, 51):
        end = model.hidden(tokens, loss.annealed_attention(u, step, 50))
        torch.testing.assert_close(end, model.hidden(tokens), atol=1e-6, rtol=0)
    shares = [loss.annealed_attention(torch.rand(400, 400), i, 50).triu(1).float().sum() / 79_800 for i in (10, 25)]
    assert [round(float(s), 2) for s in shares] == pytest.approx([0.2, 0.5], abs=0.011)


@torch.no_grad()
def test_left_to_right_likelihood_is_the_stock_one() -> None:
    model, tokens = tiny(), torch.randint(0, 256, (3, 10))
    ours = autoregressive_nll(model, tokens, batch=2)
    model.network.config.is_causal = True
    mean = model.network(input_ids=tokens, labels=tokens).loss
    assert ours.nats.mean().item() / 9 == pytest.approx(mean.item(), abs=1e-5)
    with pytest.raises(UsageError, match="no logit shift"):
        autoregressive_nll(tiny(logit_shift=False), tokens)


@torch.no_grad()
def test_padding_counts_for_nothing() -> None:
    model, tokens = tiny(), torch.randint(0, 256, (2, 10))
    real = torch.ones(2, 10, dtype=torch.bool)
    real[1, 6:] = False
    padded = torch.where(real, tokens, 256)
    whole, cut = autoregressive_nll(model, padded, real=real), autoregressive_nll(model, tokens[1:, :6])
    assert whole.nats[1].item() == pytest.approx(cut.nats[0].item(), abs=1e-4)
    noised = loss.mask_at_times(padded, real, torch.ones(2), torch.zeros(2, 10), model.special.mask)
    assert not noised.masked[1, 6:].any()
    pattern = loss.with_padding(loss.causal_attention(10), real)
    assert not pattern[1, 0, :6, 6:].any()
    assert pattern.any(-1).all()


def test_both_forms_of_the_sampled_bound_have_one_mean():
    model = tiny(logit_shift=False)
    tokens = torch.randint(0, 256, (4, 12))
    rows = {"tokens": tokens, "maskable": torch.ones_like(tokens, dtype=torch.bool)}
    rows["real"] = rows["maskable"]
    by_time, by_count = sampled_losses(model, rows)
    places = torch.rand(2000, 1, generator=torch.Generator().manual_seed(1)).numpy()
    times, counts = by_time.loss(places), by_count.loss(places)
    error = math.hypot(times.std(), counts.std()) / math.sqrt(len(places))
    assert times.shape == counts.shape == (2000,)
    assert abs(times.mean() - counts.mean()) < 4 * error
    assert counts.std() < times.std()
