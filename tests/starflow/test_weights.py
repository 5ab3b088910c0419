"""Reading published STARFlow checkpoints."""

import numpy as np
import pytest
import torch

import tenfold
from tenfold import hub
from tenfold.errors import UsageError
from tenfold.starflow.model import StarFlow
from tenfold.starflow.weights import PublishedGeometry, infer_config, load_published, read_published
from tests.starflow.helpers import PUBLISHED


def published(fixtures, case):
    arrays = np.load(fixtures / "image_flows" / f"{case}.npz")
    return {name[2:]: torch.from_numpy(arrays[name]) for name in arrays if name.startswith("w/")}


def test_geometry_of_the_text_model(fixtures):
    state = published(fixtures, "starflow_text")
    # Buffers that a published file holds tell the side and the number of text tokens.
    state |= {"var": torch.ones(64, 4), "feat_rope.freqs_cos": torch.zeros(70, 32)}
    config = infer_config(state, PublishedGeometry(head_size=32))
    assert (config.shape, config.patch, config.layers) == ((4, 8, 8), 1, (1, 1, 3))
    assert (config.text_tokens, config.text_dim, config.condition) == (6, 20, "top")
    assert (config.order, config.start_token, config.final_norm) == ("L2R", True, True)
    assert config.deep.plain
    assert config.deep.width == 64


def test_geometry_of_a_language_model_shaped_one(fixtures):
    state = published(fixtures, "starflow_gemma_like")
    layer = infer_config(state, PublishedGeometry(side=4, rotary="half", text_tokens=5)).deep
    assert (layer.query_heads, layer.key_heads, layer.head_size, layer.hidden) == (2, 1, 32, 256)
    assert (layer.norm, layer.feed_forward, layer.bias, layer.qk_norm, layer.post_norm) == (
        *("rms", "swiglu", False, True, True),
    )


def test_buffers_and_wrappers_are_left_out(fixtures):
    state = published(fixtures, "starflow_exp_nosos")
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    wrapped |= {"module.blocks.0.attn_mask": torch.ones(16, 16), "var": torch.ones(16, 8)}
    wrapped["learnable_self_denoiser.proj_in.weight"] = torch.zeros(3, 3)
    x = torch.randn(1, 2, 8, 8)
    options = PUBLISHED["starflow_exp_nosos"]
    assert torch.equal(load_published(wrapped, **options).log_prob(x), load_published(state, **options).log_prob(x))


def test_convert_and_read_back(fixtures, tmp_path):
    torch.save(published(fixtures, "starflow_text"), tmp_path / "text.pth")
    options = {"side": 8, "head_size": 32, "text_tokens": 6}
    model = tenfold.convert("starflow", tmp_path / "text.pth", tmp_path / "model", sigma=0.25, **options)
    assert hub.read_config(tmp_path / "model")["recipe"] == {"objective": {"sigma": 0.25}}
    loaded = hub.from_pretrained(StarFlow, tmp_path / "model")
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 20)
    assert torch.equal(loaded.log_prob(x, text), model.log_prob(x, text))
    # A published file has no null text: guidance says what to do.
    assert not loaded.has_null_text
    with pytest.raises(UsageError, match="the null text is missing"):
        loaded.sample(1, text, guidance=2.0)
    loaded.set_null_text(torch.zeros(1, 20))
    assert loaded.sample(1, text, guidance=2.0).shape == (1, 4, 8, 8)


def test_wrong_checkpoints_are_explained(fixtures, tmp_path):
    state = published(fixtures, "starflow_text")
    with pytest.raises(UsageError, match=r"no multiples of head_size 48"):
        load_published(state, side=8, head_size=48, text_tokens=6)
    with pytest.raises(UsageError, match="no square patch of 3 channels"):
        load_published(state, channels=3)
    broken = {name: tensor for name, tensor in state.items() if name != "blocks.1.sos_embed"}
    with pytest.raises(UsageError, match=r"missing blocks\.1\.start.*extra oddity"):
        load_published(broken | {"oddity": torch.zeros(1)}, side=8, head_size=32, text_tokens=6)
    with pytest.raises(UsageError, match="tenfold convert tarflow"):
        load_published(published(fixtures, "tarflow_cond"))
    with pytest.raises(UsageError, match="this is no STARFlow checkpoint"):
        load_published({"encoder.weight": torch.zeros(2, 2)})
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / ".metadata").write_bytes(b"pickle")
    with pytest.raises(UsageError, match="dcp_to_torch"):
        read_published(tmp_path / "sharded")


def test_options_of_another_system_are_refused(fixtures, tmp_path):
    torch.save(published(fixtures, "starflow_text"), tmp_path / "text.pth")
    with pytest.raises(UsageError, match="starflow takes no option 'height'"):
        tenfold.convert("starflow", tmp_path / "text.pth", tmp_path / "model", height=8)
    assert not (tmp_path / "model").exists()
