"""Transition tensors against recorded outputs of published samplers (MDLM, SEDD, UDLM), from t to 0.7 t."""

from pathlib import Path

import torch
from torch import Tensor

from tenfold.discrete import Geometric, Linear, MaskSource, Schedule, UniformSource, noisy_ratios, sigma
from tenfold.discrete_diffusion import Span as Interval
from tenfold.discrete_diffusion import analytic, ancestral, interval
from tests.discrete_diffusion.world import reference

V = 11


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5, check_dtype=False)


def step(ref: dict[str, Tensor], schedule: Schedule) -> Interval:
    return interval(schedule, ref["t"], 0.7 * ref["t"])


def test_masked(fixtures: Path) -> None:
    ref, source = reference(fixtures), MaskSource(V)
    noisy, here = ref["xt_mask"], step(ref, Linear(1e-3))
    log_posterior = ref["mdlm_subs_logprobs"][..., :V]
    ours = ancestral(log_posterior, noisy, here, source)
    theirs = ref["mdlm_ddpm_qxs_unnormalised_t_to_0.7t"]
    masked = noisy == source.mask
    close(ours[masked], (theirs / theirs.sum(-1, keepdim=True))[masked])
    ratios = noisy_ratios(log_posterior, noisy, here.alpha, source)
    close(analytic(ratios, noisy, here, source)[masked], ref["mdlm_analytic_probs_t_to_0.7t"][masked])
    # Networks of score entropy are not normalised; MDLM's, turned into ratios, are.
    theirs = ref["mdlm_get_score_from_subs"]
    close(ratios[masked][:, :V], theirs[masked][:, :V])


def test_uniform(fixtures: Path) -> None:
    ref, source = reference(fixtures), UniformSource(V)
    here = interval(Linear(), ref["t"], 0.7 * ref["t"])
    ours = ancestral(ref["logits_uniform"].log_softmax(-1), ref["xt_uniform"], here, source)
    close(ours, ref["udlm_posterior_t_to_0.7t"])
    schedule = next(
        s
        for s in (Geometric(1e-3, 1.0), Geometric(1e-4, 20.0), Geometric(1e-3, 5.0))
        if torch.allclose(sigma(s, ref["t"]), ref["sedd_uniform_sigma"], rtol=1e-4)
    )
    ratios = ref["sedd_logscore_uniform"].exp()
    noisy = ref["xt_uniform_geometric"]
    theirs = ref["sedd_uniform_analytic_probs_t_to_0.7t"].clamp(min=0)
    close(analytic(ratios, noisy, step(ref, schedule), source), theirs / theirs.sum(-1, keepdim=True))
