"""What generation refuses, in one sentence that names the value and the fix."""

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tests.masked_lm.generating import prompts, random_model

OPTIONS = {
    "steps": ({"steps": 0}, ["steps is 0", "at least 1"]),
    "block": ({"block_length": 0}, ["block_length is 0"]),
    "length": ({"max_new_tokens": 0}, ["max_new_tokens is 0"]),
    "threshold-zero": ({"threshold": 0.0, "alg": "entropy"}, ["threshold is 0.0", "(0, 1]"]),
    "threshold-large": ({"threshold": 1.5, "alg": "entropy"}, ["threshold is 1.5", "(0, 1]"]),
    "both": ({"threshold": 0.9, "factor": 1.0}, ["threshold 0.9", "factor 1.0", "leave one out"]),
    "top_p": ({"top_p": 1.2}, ["top_p is 1.2", "(0, 1]"]),
    "top_k": ({"top_k": 0}, ["top_k is 0", "at least 1"]),
    "temperature": ({"temperature": -0.5}, ["temperature is -0.5", "at least 0"]),
    "alg_temp": ({"alg_temp": -1.0}, ["alg_temp is -1.0"]),
    "alg": ({"alg": "entropyy"}, ["'entropyy'", "did you mean 'entropy'"]),
    "alg-far": ({"alg": "x"}, ["origin, maskgit_plus, topk_margin, entropy"]),
    "cache": ({"cache": "duel"}, ["'duel'", "did you mean 'dual'"]),
    "strategy": ({"strategy": "remd"}, ["did you mean 'remdm'"]),
    "needs": ({"strategy": "threshold", "alg": "entropy"}, ["'threshold' needs threshold"]),
    "belongs": ({"strategy": "topk", "gamma": 1.0}, ["gamma belongs to", "entropy_bound"]),
    "ranks": ({"threshold": 0.9}, ["'origin'", "maskgit_plus"]),
    "eps": ({"eps": 0.0}, ["eps is 0.0"]),
    "eta": ({"eta": 2.0}, ["eta is 2.0"]),
    "loop": ({"loop": (0.1, 0.5, 0.9)}, ["loop is (0.1, 0.5, 0.9)"]),
    "remdm-cache": ({"strategy": "remdm", "cache": "dual"}, ["remdm", "cache 'none'"]),
    "remdm-blocks": ({"strategy": "remdm", "block_length": 4}, ["remdm", "block_length"]),
    "speculative": ({"strategy": "self_speculative", "alg": "entropy", "cache": "dual"}, ["cache 'none'"]),
    "speculative-steps": ({"strategy": "self_speculative", "alg": "entropy", "steps": 4}, ["leave steps (4) out"]),
    "first-token": ({"first_token": "reference"}, ["prefix and the dual cache"]),
    "window": ({"window": 4, "cache": "dual"}, ["window is 4", "'dual' has none"]),
    "carry": ({"carry": True}, ["carry belongs to"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(case):
    changes, words = OPTIONS[case]
    with pytest.raises(UsageError) as error:
        GenerationOptions(**changes)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_unknown_option():
    with pytest.raises(UsageError, match="did you mean 'threshold'"):
        GenerationOptions().with_changes(treshold=0.9)


@pytest.fixture(scope="module")
def model():
    return random_model()


def refused(model, prompt, mask=None, **options):
    with pytest.raises(UsageError) as error:
        diffusion_generate(model, prompt, mask, **{"alg": "entropy", "max_new_tokens": 12, **options})
    return str(error.value)


def test_prompts(model):
    prompt = prompts()
    assert "mask token (id 257)" in refused(model, torch.full((1, 3), 257))
    assert "infill needs masks" in refused(model, prompt, infill=True)
    assert "prompt is empty" in refused(model, torch.zeros(1, 0, dtype=torch.long))
    assert "prompt is empty" in refused(model, prompt, torch.tensor([[1] * 6, [0] * 6]))
    assert "first token of a prompt is masked" in refused(model, torch.tensor([[257, 3]]), infill=True)
    assert "first token" in refused(model, torch.tensor([[9, 257, 3]]), torch.tensor([[0, 1, 1]]), infill=True)
    assert "in the padding" in refused(model, torch.tensor([[257, 1, 257]]), torch.tensor([[0, 1, 1]]), infill=True)
    assert "token id 300" in refused(model, torch.tensor([[300]]))
    assert "shape (2, 6)" in refused(model, prompt.float())
    assert "128 positions" in refused(model, prompt, max_new_tokens=123)
    assert "stop id 900" in refused(model, prompt, stop_ids=(900,))


def test_attention_masks(model):
    prompt, good = prompts(), torch.ones(2, 6, dtype=torch.long)
    right = good.clone()
    right[1, 4:] = 0
    assert "row 1 is padded on the right" in refused(model, prompt, right)
    assert "(2, 5)" in refused(model, prompt, good[:, :5])
    assert "torch.float32" in refused(model, prompt, good.float())
    assert "besides 0 and 1" in refused(model, prompt, good * 2)


def test_schedules(model, capsys):
    assert "block_length 5 does not divide the 12" in refused(model, prompts(), block_length=5)
    assert "steps 4 cannot be divided over 3 blocks" in refused(model, prompts(), block_length=4, steps=4)
    diffusion_generate(model, prompts(), alg="entropy", max_new_tokens=4, steps=9)
    assert "steps 9 exceeds the 4 masks" in capsys.readouterr().err


def test_hooks_and_given_numbers(model):
    assert "hooks" in refused(model, prompts(), cache="dual", generation_tokens_hook_func=lambda i, x, l: x)
    assert "step 0 needs 24" in refused(model, prompts(), alg="origin", steps=2, uniforms=[torch.rand(5)])
    assert "there are none" in refused(model, prompts(), alg="origin", steps=2, uniforms=[])


def test_damaged_weights():
    model = random_model()
    with torch.no_grad():
        model.network.lm_head.weight[3, 0] = torch.nan
    assert "NaN or infinite in step 0" in refused(model, prompts())


def test_adaptive_needs_known_layers(model, monkeypatch):
    monkeypatch.setattr(model.network.config, "model_type", "other")
    assert "qwen2 and llama" in refused(model, prompts(), cache="adaptive")
