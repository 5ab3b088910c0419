"""Sequences of texts and images in the deep block."""

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.starflow.editing import Image, Text, context_of, log_probs_of
from tests.starflow.helpers import LLM, random_flow, small_config

TEXT = {"text_tokens": 3, "text_dim": 5}
CONFIGS = {
    "start": small_config(**TEXT),
    "no-start": small_config(start_token=False, scale="exp", **TEXT),
    "language-model": small_config(deep=LLM, deep_positions="line", **TEXT),
}


def text(tokens=3):
    return torch.randn(2, tokens, 5, dtype=torch.float64)


def image(*shape):
    return torch.randn(2, 2, *shape, dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_one_pass_scores_what_two_flows_score(config):
    flow = random_flow(config)
    caption, source, order, target = text(), image(3, 4), text(2), image(2, 6)
    first, second = log_probs_of(flow, [Text(caption), Image(source), Text(order), Image(target)])
    torch.testing.assert_close(first, flow.log_prob(source, caption))
    context = context_of(flow, [Text(caption), Image(source), Text(order)])
    torch.testing.assert_close(second, flow.log_prob(target, context))
    assert float((second - flow.log_prob(target, order)).detach().abs().min()) > 1e-6


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("options", [{}, {"solver": "jacobi"}, {"solver": "frontier", "window": 4}], ids=str)
def test_edits_are_sampled_by_every_solver(config, options):
    flow = random_flow(config)
    source = image(2, 2)
    context = context_of(flow, [Text(text()), Image(source), Text(text())])
    null = flow.null_text.expand(2, -1, -1)
    without = context_of(flow, [Text(null), Image(source), Text(null)])
    noise = torch.randn(2, 12, 2, dtype=torch.float64)
    x = flow.sample(2, context, noise=noise, **options)
    torch.testing.assert_close(flow.encode(x, context), noise, atol=1e-9, rtol=0)
    guided = {"noise": noise, "guidance": 2.0, "unconditional": without}
    expected = flow.sample(2, context, **guided)
    torch.testing.assert_close(flow.sample(2, context, **guided, **options), expected, atol=1e-9, rtol=0)


def test_the_loss_reaches_every_block():
    flow = random_flow(CONFIGS["start"])
    segments = [Text(text()), Image(image(3, 4)), Text(text()), Image(image(3, 4))]
    (-torch.stack(log_probs_of(flow, segments)).mean()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in flow.parameters())


def test_bad_sequences():
    flow = random_flow(CONFIGS["start"])
    with pytest.raises(UsageError, match="no image"):
        log_probs_of(flow, [Text(text())])
    with pytest.raises(UsageError, match="empty"):
        context_of(flow, [])
    with pytest.raises(UsageError, match="has no text"):
        context_of(random_flow(small_config(classes=2)), [Text(text())])
    with pytest.raises(UsageError, match="condition 'top'"):
        context_of(random_flow(small_config(condition="all", **TEXT)), [Text(text())])
    context, short = (
        context_of(flow, [Text(text()), Image(image(3, 4)), Text(text())]),
        context_of(flow, [Text(text())]),
    )
    with pytest.raises(UsageError, match="equal length"):
        flow.sample(2, context, guidance=1.0, unconditional=short)
