"""The house's own models as language models: each gives the tokens of a row what it gives them by itself."""

import math

import numpy as np
import pytest
import torch

from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion import AutoregressiveConfig, DiffusionConfig, DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.reading import reader_of
from tenfold.errors import UsageError
from tenfold.masked_lm.completion.reading import reader_of as masked_reader
from tenfold.masked_lm.loss import causal_attention
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.scoring import score_choices
from tenfold.ordering.options import ChoiceScoring
from tenfold.text.language_model import LanguageModel, beginning
from tests.masked_lm.helpers import tiny

NETWORK = {"vocabulary": 27, "width": 32, "layers": 1, "heads": 2, "length": 12}
DATA = CharacterDataConfig(length=12)


def test_the_autoregressive_model_of_characters() -> None:
    model = Autoregressive(AutoregressiveConfig(**NETWORK)).eval()
    reader = reader_of(model, DATA, None, "ar")
    assert isinstance(reader, LanguageModel)
    rows = [[4, 5, 6], [7]]
    found = reader.token_scores([*beginning(reader), 1, 2], rows)
    for row, scores in zip(rows, found, strict=True):
        log_p = model(torch.tensor([[1, 2, *row]]))[0]
        expected = [float(log_p[2 + i, token].detach()) for i, token in enumerate(row)]
        np.testing.assert_allclose(scores.log_p, expected, atol=1e-6)
        assert scores.greedy.tolist() == [int(log_p[2 + i].argmax()) == token for i, token in enumerate(row)]
    with pytest.raises(UsageError, match="does not read right to left"):
        reader_of(model, DATA, "r2l", "ar")


@pytest.mark.parametrize("order", ["l2r", "r2l"])
@pytest.mark.parametrize("time", [True, False])
def test_diffusion_of_characters(order: str, time: bool) -> None:
    model = DiscreteDiffusion(DiffusionConfig(**NETWORK, time=time)).eval()
    mask = model.source.mask
    reader = reader_of(model, DATA, order, "masked")
    (scores,) = reader.token_scores([*beginning(reader), 3], [[4, 5]])
    text = [3, 4, 5] if order == "l2r" else [5, 4, 3]
    for step, hidden in enumerate((2, 1), 1):
        place = step if order == "l2r" else 2 - step
        noisy = torch.tensor(
            [[t if (i < step if order == "l2r" else i > 2 - step) else mask for i, t in enumerate(text)]]
        )
        when = time_of(model.schedule, torch.tensor([1 - hidden / 3], dtype=torch.float64)).float() if time else None
        assert scores.log_p[step - 1] == pytest.approx(
            float(model(noisy, when)[0, place, text[place]].detach()), abs=1e-5
        )
    uniform = DiscreteDiffusion(DiffusionConfig(**NETWORK, source="uniform", epsilon=1e-3))
    with pytest.raises(UsageError, match="a model of uniform noise"):
        reader_of(uniform, DATA, order, "udlm")


def test_masked_language_models() -> None:
    model = tiny()
    reader = masked_reader(model)
    begin, mask = beginning(reader)[0], model.special.mask
    (scores,) = reader.token_scores([begin, 97], [[98, 99]])
    for step, noisy in enumerate(([begin, 97, mask, mask], [begin, 97, 98, mask])):
        log_p = model.logits(model.hidden(torch.tensor([noisy])))[0, 1 + step].log_softmax(-1)
        assert scores.log_p[step] == pytest.approx(float(log_p[98 + step].detach()), abs=1e-5)
    items = [ChoiceItem("ab", ("cd", "e"), 0)]
    both = [
        score_choices(masked_reader(model, order), items, ChoiceScoring(rules=("sum", "pmi")))
        for order in ("l2r", "r2l")
    ]
    assert all(math.isfinite(x) for found in both for table in found.by_rule().values() for x in table.ravel())
    causal = masked_reader(model, autoregressive=True)
    (scores,) = causal.token_scores([begin, 97], [[98, 99]])
    tokens = torch.tensor([[begin, 97, 98, 99]])
    log_p = model.logits(model.hidden(tokens, causal_attention(4)))[0].log_softmax(-1)
    np.testing.assert_allclose(scores.log_p, [float(log_p[1, 98].detach()), float(log_p[2, 99].detach())], atol=1e-5)
    with pytest.raises(UsageError, match="does not read right to left"):
        masked_reader(model, "r2l", autoregressive=True)
