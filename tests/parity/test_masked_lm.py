"""Masked language models against recorded outputs of the published modelling code."""

from pathlib import Path

import torch

from tests.masked_lm.helpers import arrays, fixture_model


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0, check_dtype=False)


@torch.no_grad()
def test_logits(fixtures: Path) -> None:
    model, reference = fixture_model(fixtures), arrays(fixtures, "forward")
    assert (model.special.mask, model.special.pad, model.special.bos, model.special.eos) == (95, 94, 93, 94)
    assert model.logit_shift
    hidden = model.hidden(reference["input_ids"])
    close(model.logits(hidden), reference["logits"])
    positions = torch.arange(hidden.shape[1])
    close(model.logits(hidden[:, model.predictor(positions)]), reference["shifted_logits"])


@torch.no_grad()
def test_left_padding(fixtures: Path) -> None:
    model, reference = fixture_model(fixtures), arrays(fixtures, "forward")
    mask = reference["attention_mask"]
    assert (mask == 0).any()
    ours = model.logits(model.hidden(reference["padded_ids"], mask))
    close(ours[mask > 0], reference["padded_logits"][mask > 0])
    given = model.logits(model.hidden(reference["padded_ids"], mask, reference["position_ids"]))
    close(given[mask > 0], reference["padded_logits"][mask > 0])
