"""Training parity: the same 20 AdamW steps from a fixture's weights, ours and the reference's step re-created."""

import copy

import pytest
import torch

from benchmarks.reference_tarflow import ReferenceTarFlow
from tenfold.flows.loss import negative_log_likelihood
from tests.flows.helpers import fixture_flow


@pytest.mark.parametrize("case", ["tarflow_uncond", "tarflow_cond"])
def test_twenty_steps_match(fixtures, case):
    ours, _ = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    theirs = copy.deepcopy(ours)
    reference = ReferenceTarFlow(theirs)
    options = dict(lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4)
    our_optimizer = torch.optim.AdamW(ours.train().parameters(), fused=True, **options)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), **options)
    generator = torch.Generator().manual_seed(0)
    start = copy.deepcopy(ours.state_dict())
    for _ in range(20):
        x = torch.rand(8, *ours.config.shape, generator=generator) * 2 - 1
        y = torch.randint(-1, 10, (8,), generator=generator) if ours.config.classes else None
        output = ours(x, y)
        our_loss = negative_log_likelihood(output.z, output.logdet)
        their_loss = reference.loss(x, y)
        torch.testing.assert_close(our_loss, their_loss, atol=1e-4, rtol=0)
        for loss, optimizer in ((our_loss, our_optimizer), (their_loss, their_optimizer)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    moved = 0.0
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
        moved = max(moved, float((a.detach() - start[name]).abs().max()))
    assert moved > 1e-3
