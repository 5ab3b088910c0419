"""What enters by the face: number types, lists, emptiness, NaN and nonsense are right, or refused in one sentence."""

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import tenfold.masked_lm as face
from tenfold.errors import UsageError
from tenfold.masked_lm import (
    GenerationOptions,
    Hole,
    MaskedLM,
    autoregressive_nll,
    create_completion,
    diffusion_generate,
    infill_exact_match,
    left_to_right_exact_match,
    mask_at_times,
    mask_counts,
    mdm_nll,
    read_published,
)
from tests.masked_lm.generating import prompts, random_model

ROWS = prompts(3, 8) % 100
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16)
OTHERS = (torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64)
# Everything on the face that takes rows of tokens.
ENTRIES = {
    "diffusion_generate": lambda m, x: diffusion_generate(m, x, max_new_tokens=4, seed=1, temperature=1.0).sequences,
    "published_generate": lambda m, x: face.published_generate(m, x, max_new_tokens=4, steps=4, alg="entropy"),
    "mdm_nll": lambda m, x: mdm_nll(m, x, 2).nats,
    "autoregressive_nll": lambda m, x: autoregressive_nll(m, x).nats,
}
NETWORK = {
    "hidden": lambda m, x: m.hidden(x),
    "forward": lambda m, x: m(x, x, torch.ones(3, 8, dtype=torch.bool)),
}
# On the face, but no row of tokens enters: settings, objects of a generation, pure functions tested beside.
EXCUSED = {
    *("AdaptivePasses", "BlockDelayedPasses", "BlockPasses", "DelayedPasses", "Passes", "CarriedSchedule"),
    *("ExactSchedule", "ReferenceSchedule", "RevealSchedule", "EntropyBound", "Factor", "ReMDM", "ReverseProcess"),
    *("Strategy", "Threshold", "TopK", "Proposer", "gumbel_proposals", "propose", "Generation", "GenerationOptions"),
    *("REFERENCE", "Completion", "Request", "FileJob", "Likelihood", "Noised", "Hole", "HoleScore", "Oracle"),
    *("MaskedAnalysis", "MaskedEvaluation", "MaskedObjective", "MaskedSampling", "MaskedLMConfig", "SpecialIds"),
    *("MaskedLMPipeline", "MaskedLMRecipe", "MaskedLMTask", "MaskedLM", "DiffusionCollator", "EntropyMap"),
    *("annealed_attention", "causal_attention", "bound", "normalised", "mask_at_times", "mask_counts"),
    *("as_events", "complete_file", "complete_texts", "create_completion", "write_form", "harness_model"),
    *("cut_holes", "example_chain", "infill_exact_match", "left_to_right_exact_match", "read_published"),
    *("global_ar", "local_ar", "orders", "orders_of_steps", "pass_at_k", "sink_score", "steps_of_history"),
    *("tokens_per_pass", "ProblemSolving", "solve_problems", "Estimate", "MaskViews", "coupled_views", "d1_views"),
    *("decoupled_views", "draw_views", "estimate", "full_views", "require_same_views", "GrpoEvaluation"),
    *("GrpoObjective", "PromptConfig", "GrpoPipeline", "GrpoRecipe", "CoupledGrpoTask"),
    *("EstimatorAnalysis", "Sandwich", "count_views", "sandwich", "upper_bound"),
}


@pytest.fixture(scope="module")
def model() -> MaskedLM:
    return random_model()


def test_every_name_of_the_face_is_swept_or_excused() -> None:
    assert set(ENTRIES) | EXCUSED == set(face.__all__)


@pytest.mark.parametrize("name", [*ENTRIES, *NETWORK])
def test_token_ids_of_any_integer_type(model: MaskedLM, name: str) -> None:
    read = partial((ENTRIES | NETWORK)[name], model)
    goal = read(ROWS)
    for kind in INTEGERS:
        torch.testing.assert_close(read(ROWS.to(kind)), goal, rtol=0, atol=0)
    wide = torch.stack([ROWS, ROWS + 1], dim=2)[:, :, 0]  # not contiguous
    torch.testing.assert_close(read(wide), goal, rtol=0, atol=0)
    for kind in OTHERS:
        with pytest.raises(UsageError, match="token ids of shape"):
            read(ROWS.to(kind))


@pytest.mark.parametrize("name", ENTRIES)
def test_lists_arrays_and_nonsense(model: MaskedLM, name: str) -> None:
    read = partial(ENTRIES[name], model)
    frozen = ROWS.numpy().copy()
    frozen.setflags(write=False)
    for rows in (ROWS.tolist(), ROWS.numpy(), frozen, frozen.astype(np.uint8)):
        torch.testing.assert_close(read(rows), read(ROWS), rtol=0, atol=0)
    for bad in ([[1, 2], [3]], [1, 2], ROWS[None], "text", [["a"]], ROWS + 300, ROWS - 200, [[10**30]], None):
        with pytest.raises(UsageError):
            read(bad)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual", "delayed", "block_delayed", "adaptive"])
def test_an_empty_batch_is_an_empty_batch(model: MaskedLM, cache: str) -> None:
    for infill, width in ((False, 12), (True, 8)):
        found = diffusion_generate(model, ROWS[:0], max_new_tokens=4, alg="entropy", cache=cache, infill=infill)
        assert found.sequences.shape == (0, width)
    with pytest.raises(UsageError, match="nothing to score"):
        mdm_nll(model, ROWS[:0])


def test_numbers_beside_the_rows(model: MaskedLM) -> None:
    torch.testing.assert_close(mdm_nll(model, ROWS, np.int64(2), batch=np.uint8(2)).nats, mdm_nll(model, ROWS, 2).nats)
    for options in (
        {"batch": 0}, {"estimator": "cout"}, {"epsilon": 0.0}, {"epsilon": math.nan},
        {"maskable": torch.ones(3, 8)}, {"maskable": torch.ones(3, 8, dtype=torch.bool)},
        {"real": torch.ones(2, 8, dtype=torch.bool)}, {"maskable": "x"},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            mdm_nll(model, ROWS, **{"n_samples": 2, **options})
    for options in ({"samples": [1]}, {"ending": [True]}, {"num_return_sequences": 10**12}):
        with pytest.raises(UsageError):
            diffusion_generate(model, ROWS, max_new_tokens=4, **options)
    with pytest.raises(UsageError, match=r"half of a character \(U\+D800\)"):
        create_completion(model, "a\ud800", max_tokens=2)
    ok, bad = torch.full((3,), 0.5), torch.tensor([0.5, math.nan, 0.5])
    uniforms, maskable = torch.rand(3, 8), torch.ones(3, 8, dtype=torch.bool)
    for hide in (mask_counts, mask_at_times):
        hide(ROWS, maskable, ok, uniforms, 257)
        for t, u in ((bad, uniforms), (ok, uniforms.masked_fill(uniforms < 0.5, math.nan)), (ok + 1, uniforms)):
            with pytest.raises(UsageError):
                hide(ROWS, maskable, t, u, 257)


def test_values_of_settings_from_python() -> None:
    """In a process of its own: here the checks of annotations would speak first."""
    code = """
import math
from dataclasses import fields
from tenfold.errors import UsageError
from tenfold.data.text.config import CharacterDataConfig, CodeDataConfig, TokenTextConfig
from tenfold.data.text.texts import TextScoring
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.options import MaskedAnalysis, MaskedEvaluation, MaskedObjective, MaskedSampling
kinds = (CharacterDataConfig, CodeDataConfig, TokenTextConfig, TextScoring, MaskedLMConfig, GenerationOptions,
         MaskedAnalysis, MaskedEvaluation, MaskedObjective, MaskedSampling)
for kind in kinds:
    kind()
    for field in fields(kind):
        for bad in (math.nan, -math.inf, 1 + 2j, [[1]], object()):
            try:
                kind(**{field.name: bad})
            except UsageError as error:
                assert chr(10) not in str(error)
            else:
                print(kind.__name__, field.name, bad)
import numpy
import torch
from tenfold import rl
from tenfold.masked_lm import MaskedLM, create_completion, diffusion_generate, estimate, mdm_nll, require_same_views
from tenfold.rl import TestReward
from tenfold.sandbox import free_names
class Sandboxed:
    judge = list
model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=32, positions=32))
rows = torch.zeros(1, 4, dtype=torch.long)
for use in (
    *(lambda o=o: create_completion(model, "a", **{"max_tokens": 2, **o}) for o in (
        {"max_tokens": 2.5}, {"n": 1.5}, {"seed": 1.5}, {"stop": [5]}, {"temperature": math.nan})),
    lambda: create_completion(model, 5), lambda: create_completion(model, b"abc", max_tokens=2),
    lambda: mdm_nll(model, rows, 2.5), lambda: mdm_nll(model, rows, 2, seed=1.5), lambda: mdm_nll(model, rows, True),
    lambda: diffusion_generate(model, rows, max_new_tokens=2, seed=1.5),
    lambda: diffusion_generate(model, rows, max_new_tokens=2.5),
    lambda: rl.paired(rows, [0.5]), lambda: rl.signed_loss([[0.5, 0.5]], None, 1.0), lambda: rl.until_end(rows, "x"),
    lambda: rl.until_end(rows, (1.5,)), lambda: rl.policy_loss([[0.0]], [[0.0]], [1.0], [[True]], (0.2,)),
    lambda: rl.WeightedReward({"a": (1.0, 5)}), lambda: rl.WeightedReward({"a": ("2", len)}),
    lambda: free_names(b"f(1)"), lambda: free_names(None), lambda: require_same_views(rows, rows),
    lambda: estimate(len, rows, rows, None, 5), lambda: TestReward(None),
    lambda: TestReward(Sandboxed, fenced=False)(["x"], [{"tests": ["a"], "functions": "f"}]),
):
    try:
        print(use())
    except (UsageError, TypeError) as error:
        assert isinstance(error, UsageError) or "multiple values" in str(error), error
assert type(GenerationOptions(max_new_tokens=numpy.int64(3)).max_new_tokens) is int
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eta": 0.3}, "eta is 0.3, but strategy is 'topk'"),
        ({"sigma": "loop"}, "sigma is loop"),
        ({"strategy": "remdm", "loop": (0.6, 0.1, 0.8)}, "loop is .*, but sigma is 'cap'"),
        ({"draft": 8}, "draft is 8"),
        ({"refresh": 3}, "refresh is 3, but cache 'none'"),
        ({"alg_temp": 0.5}, "alg_temp is 0.5, but alg 'origin'"),
        ({"alg_temp": 0.5, "alg": "entropy", "threshold": 0.9}, "alg_temp is 0.5, but strategy 'threshold'"),
    ],
)
def test_what_a_strategy_ignores_is_refused(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GenerationOptions(**options)


def test_weights_that_are_no_numbers_speak_everywhere() -> None:
    model, hole = random_model(), [Hole((1, 2, 3, 4), 1, 2)]
    with torch.no_grad():
        model.network.get_output_embeddings().weight[7] = math.nan
    for use in (
        *(partial(entry, model, ROWS) for entry in ENTRIES.values()),
        partial(create_completion, model, "abc", max_tokens=3),
        partial(infill_exact_match, model, hole),
        partial(left_to_right_exact_match, model, hole),
        *(
            partial(diffusion_generate, model, ROWS, max_new_tokens=4, **options)
            for options in (
                {"strategy": "remdm", "sigma": "confidence", "temperature": 1.0},
                {"strategy": "self_speculative", "alg": "entropy"},
                {"alg": "topk_margin", "threshold": 0.5},
                {"alg": "entropy", "gamma": 0.5, "top_p": 0.9, "temperature": 0.5},
                {"alg": "entropy", "cache": "dual"},
            )
        ),
    ):
        with pytest.raises(UsageError, match="NaN or infinite"):
            use()


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, "mixed"]
)
def test_checkpoints_of_every_floating_type_load_and_run(tmp_path: Path, kind: torch.dtype | str) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for number, (name, value) in enumerate(tensors.items()):
        chosen = (torch.bfloat16, torch.float16, torch.float32)[number % 3] if kind == "mixed" else kind
        tensors[name] = value.to(chosen)
    stored = torch.float16 if kind == "mixed" else kind
    frequencies = model.network.base_model.rotary_emb.inv_freq
    if stored.itemsize > 1:
        for layer in range(2):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = frequencies.to(stored).clone()
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    for read in (MaskedLM.from_pretrained, read_published):
        again = read(tmp_path)
        assert len({p.dtype for p in again.parameters()}) == 1
        assert torch.isfinite(mdm_nll(again, ROWS, 2).nats).all()
        assert diffusion_generate(again, ROWS, max_new_tokens=4, temperature=0.5).sequences.shape == (3, 12)
    if stored.itemsize > 1:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = (frequencies * 1.1).to(stored)
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(UsageError, match=r"rotary frequencies .* are not those of its config.json"):
            MaskedLM.from_pretrained(tmp_path)


def sliding(folder: Path, window: int) -> MaskedLM:
    random_model().save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    kinds = ["sliding_attention", "full_attention"]
    settings |= {"use_sliding_window": True, "sliding_window": window, "layer_types": kinds}
    (folder / "config.json").write_text(json.dumps(settings))
    return MaskedLM.from_pretrained(folder)


def test_a_sliding_window_is_honoured_or_the_cache_refused(tmp_path: Path) -> None:
    model, whole = sliding(tmp_path / "a", 4), random_model()
    rows = prompts(2, 6)
    assert not torch.allclose(model.hidden(rows), whole.hidden(rows))
    for cache in ("prefix", "dual", "delayed", "block_delayed", "adaptive"):
        with pytest.raises(UsageError, match=f"looks at 4 positions .* cache '{cache}'"):
            diffusion_generate(model, rows, max_new_tokens=6, alg="entropy", cache=cache)
        wide = sliding(tmp_path / cache, 64)
        found, goal = (
            diffusion_generate(m, rows, max_new_tokens=6, alg="entropy", cache=cache).sequences for m in (wide, whole)
        )
        assert torch.equal(found, goal)
    with pytest.raises(UsageError, match="a pattern over 6 would override"):
        autoregressive_nll(model, rows)
    # A row alone, and with padding beside it, sees the same window.
    padded = torch.cat([torch.full((2, 3), 256), rows], dim=1)
    single, beside = (
        diffusion_generate(model, x, mask, max_new_tokens=6, alg="entropy").sequences[:, -12:]
        for x, mask in ((rows, None), (padded, (padded != 256).long()))
    )
    assert torch.equal(single, beside)


def test_an_explicit_width_of_heads_is_used_or_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "head_dim": 8}
    more = {"intermediate_size": 32, "vocab_size": 258, "max_position_embeddings": 32, "pad_token_id": 256}
    stock = LlamaForCausalLM(LlamaConfig(**sizes, **more, mask_token_id=257)).eval()
    stock.save_pretrained(tmp_path)
    model = MaskedLM.from_pretrained(tmp_path)
    causal = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    torch.testing.assert_close(model.logits(model.hidden(ROWS, causal)), stock(input_ids=ROWS).logits)
    with pytest.raises(UsageError, match=r"heads of the network are 8 wide \(head_dim\)"):
        model.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_padding_on_either_side_changes_no_likelihood(model: MaskedLM) -> None:
    left, right = (torch.nn.functional.pad(ROWS, pad, value=256) for pad in ((3, 0), (0, 3)))
    sides = ((left, torch.arange(11) >= 3), (right, torch.arange(11) < 8))
    for read in (
        autoregressive_nll,
        partial(mdm_nll, n_samples=3, seed=4),
        partial(mdm_nll, n_samples=3, estimator="time"),
    ):
        goal = read(model, ROWS).nats
        torch.testing.assert_close(torch.cat([read(model, row[None]).nats for row in ROWS]), goal, rtol=1e-5, atol=1e-4)
        for rows, real in sides:
            found = read(model, rows, real=real.expand(3, -1)).nats
            torch.testing.assert_close(found, goal, rtol=1e-5, atol=1e-4)
