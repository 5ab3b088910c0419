"""The memory that trainings take, beside what a dry run tells: a case of every task. A script, so that nothing else is
in the process: ``python -m tests.training.peaks FOLDER [CASE ...]`` prints, for each case by name, the peak of resident
memory above that before the training, and the estimate, in bytes, as JSON.
"""

import ctypes
import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tenfold import api
from tenfold.api import catalogue, training
from tenfold.discrete_diffusion import Autoregressive, AutoregressiveConfig, DiffusionConfig, DiscreteDiffusion
from tenfold.discrete_diffusion.steering import token_distil
from tenfold.energy import DenoisingModel
from tenfold.hub import save_pretrained
from tenfold.metrics.features import ClassifierFeatures
from tenfold.nn import Autoencoder, AutoencoderConfig
from tenfold.runs.recipe import Recipe
from tenfold.settings.changes import change
from tenfold.training import loop

LETTERS = " abcdehnotu"
TRAIN = {"steps": 2, "tracker": "none", "validate_every": 0, "threads": 1}
DIGITS = {"source": "digits", "levels": 17, "validation": 16, "test": 40, "height": 0, "width": 0}
FLOW = {"width": 64, "layers": 3}
NETWORK = {"width": 128, "layers": 2, "heads": 4, "length": 96, "vocabulary": len(LETTERS), "alphabet": LETTERS}
LAYER = {"width": 128, "head_size": 32, "dropout": 0.0}
LATENT = {"shape": [4, 4, 4], "layers": [1, 3], "shallow": LAYER, "deep": LAYER}
WIDTHS = {"widths": [32, 32], "norm_groups": 8}
WORDS = 2000  # of the language model that teaches


@dataclass(frozen=True)
class Case:
    """A recipe, or one ``stage`` of it, with changed settings: functions of the folder with what they start from;
    ``rows`` are computed together, in rounds."""

    recipe: str
    rows: int
    settings: Callable[[Path], Mapping[str, Any]] = lambda folder: {}
    stage: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)

    def made(self, folder: Path) -> Recipe:
        """The recipe."""
        recipe = catalogue.recipe(self.recipe)
        recipe = recipe.stage(self.stage, str(folder)) if self.stage else recipe
        return change(recipe, {**self.settings(folder), "train": {**TRAIN, "batch_size": self.rows, **self.train}})


def text(folder: Path, **network: Any) -> dict[str, Any]:
    """A model of characters."""
    data = {"source": "file", "path": str(folder / "text.txt"), "alphabet": LETTERS, "length": 96, "block": 960}
    places = {"every": 4, "validation_place": 1, "test_place": 2, "validation_rows": 16}
    return {"model": {**NETWORK, **network}, "data": {**data, **places}}


def equations(folder: Path, **network: Any) -> dict[str, Any]:
    """A model of equations."""
    return {"model": {"order": "r2l_document", "width": 96, **network}, "data": {"test": 8, "validation": 8}}


def backward(folder: Path) -> dict[str, Any]:
    """A model of characters in an order."""
    known = len(LETTERS)
    marks = {"vocabulary": known + 3, "begin": known, "mask": known + 1, "end": known + 2}
    return {"model": {"alphabet": LETTERS, "length": 96, **marks}, "data": text(folder)["data"]}


def packed(folder: Path) -> dict[str, Any]:
    """A model of packed documents."""
    given = tokens(folder)
    sizes = {"vocabulary": 258, "begin": 256, "end": 257, "width": 128, "layers": 2, "heads": 4, "intermediate": 384}
    return {"model": {**sizes, "length": given["data"]["length"]}, "data": given["data"]}


def bytes_of_texts(folder: Path) -> dict[str, Any]:
    """A flow of bytes."""
    data = {"path": str(folder / "texts.jsonl"), "length": 96, "validation": 0.1, "test": 0.1}
    return {"model": {"components": [257], "layers": [2], "dim": 8, "local_mixing": 7, "length": 96}, "data": data}


def turned(folder: Path) -> dict[str, Any]:
    """A small Llama network that is trained in another order."""
    found = {"path": str(folder / "texts.jsonl"), "source": "files", "items": []}
    data = {**found, "length": 128, "validation": 0.1, "test": 0.1}
    sizes = {"width": 128, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 384, "length": 128}
    ends = {"vocabulary": 64, "begin": 2, "end": 3, "rope_theta": 1e4}
    return {"model": {**sizes, **ends}, "data": data, "start": str(folder / "llama")}


def steered(folder: Path, **objective: Any) -> dict[str, Any]:
    """One that starts from the masked model."""
    start = {"start": str(folder / "masked"), **objective}
    return {**text(folder, local_mixing=7), "objective": start}


def tuned(folder: Path, **objective: Any) -> dict[str, Any]:
    """The same, by rewards."""
    return steered(folder, reward="word_length", **objective)


def pooled(folder: Path, **objective: Any) -> dict[str, Any]:
    """The same, from a pool."""
    return tuned(folder, pool=64, pool_steps=1, **objective)


def taught(folder: Path, **objective: Any) -> dict[str, Any]:
    """One that an autoregressive model teaches."""
    return {**text(folder, local_mixing=7), "objective": {"teacher": str(folder / "ar"), **objective}}


def code(folder: Path, **objective: Any) -> dict[str, Any]:
    """A masked language model of bytes."""
    data = {"source": "jsonl", "path": str(folder / "texts.jsonl")}
    return {"data": data, "objective": objective} if objective else {"data": data}


def rewarded(folder: Path, **objective: Any) -> dict[str, Any]:
    """A masked language model of bytes that learns from rewards of 120 tokens, drawn in two passes."""
    model = vars(catalogue.recipe("code-bytes").model)  # type: ignore[attr-defined]
    start = {"start": str(folder / "autoregressive"), "steps": 2, "group": 4, **objective}
    return {"model": dict(model), "data": {"tokens": 120}, "objective": start}


def tokens(folder: Path) -> dict[str, Any]:
    """Rows of a tokenizer's tokens."""
    return {
        "model": {"vocabulary": 257, "width": 128, "layers": 2, "heads": 4, "length": 128, "dropout": 0.0},
        "data": {
            "path": str(folder / "texts.jsonl"),
            "tokenizer": str(folder / "text"),
            "length": 128,
            "validation": 0.1,
            "test": 0.1,
        },
    }


def spoken(folder: Path) -> dict[str, Any]:
    """A student of a language model's tokens."""
    model = {"vocabulary": 1500, "width": 128, "layers": 2, "heads": 4, "length": 24}
    return {"model": model, "data": {"vocabulary": 1500, "length": 24, "rows": 64}}


def latents(folder: Path, **changes: Any) -> dict[str, Any]:
    """A flow on the latents of digits."""
    data = {"images": DIGITS, "autoencoder": str(folder / "autoencoder"), "cache": str(folder / "latents")}
    return {"model": LATENT, "data": data, "evaluation": {"calibrate": 0}, **changes}


def captioned(folder: Path) -> dict[str, Any]:
    """The same, of captioned canvases."""
    canvas = {"samples": 24, "validation": 8, "test": 8, "ratios": "1:1", "most_digits": 1, "multiple": 8}
    told = {"kind": "captioned", "captioned": canvas, "text": {"source": str(folder / "text"), "tokens": 24}}
    model = {**LATENT, "classes": 0, "text_tokens": 24, "text_dim": 32, "shape": [4, 16, 16], "patch": 2}
    return latents(folder, model=model, data={**latents(folder)["data"], **told, "cache": str(folder / "captions")})


def digits(folder: Path, **changes: Any) -> dict[str, Any]:
    """An autoencoder of digits."""
    return {"data": DIGITS, "evaluation": {"fid": False}, **changes}


def decoded(folder: Path) -> dict[str, Any]:
    """A decoder of digits, which are compared in a network."""
    compared = {"perceptual": str(folder / "classifier"), "perceptual_weight": 30.0}
    return digits(folder, objective={"start": str(folder / "autoencoder")}, reconstruction=compared)


def pictures(folder: Path) -> dict[str, Any]:
    """A detector of rendered pictures."""
    rendered = {"size": 128, "pictures": 24}
    return {"data": {"aerotiny": rendered, "cache": "", "validation": 0, "test": 1}}


ADVERSARIAL = {"adversarial_weight": 0.1, "discriminator_layers": 1, "perceptual": ""}
CASES: dict[str, Case] = {
    "flow": Case("tarflow-digits", 128, lambda _: {"model": FLOW}),
    "flow in rounds": Case("tarflow-digits", 192, lambda _: {"model": FLOW}, train={"accumulate": 4}),
    "latent flow by class": Case("starflow-mnist-flow", 160, latents),
    "latent flow by text": Case("starflow-mnist-flow", 24, captioned),
    "autoencoder": Case("autoencoder-mnist", 256, lambda p: digits(p, model=WIDTHS)),
    "autoencoder and discriminator": Case(
        "autoencoder-mnist", 320, lambda p: digits(p, model=WIDTHS, reconstruction=ADVERSARIAL)
    ),
    "decoder": Case("decoder-mnist", 320, decoded),
    "masked language model": Case("code-bytes", 8, code),
    "language model from left to right": Case("code-bytes-ar", 8, code),
    "language model opened at once": Case("code-bytes-from-ar-at-once", 8, code, stage="masked"),
    "low-rank updates": Case("code-bytes", 8, lambda p: code(p, lora_rank=8, start=str(p / "autoregressive"))),
    "rewards": Case("grpo-brackets", 2, rewarded, stage="tuned"),
    "rewards without a reference": Case("grpo-brackets", 2, lambda p: rewarded(p, beta=0.0, top_p=0.9), stage="tuned"),
    "many weights": Case("kjv-masked", 1, lambda p: text(p, width=512, layers=4)),
    "masked diffusion": Case("kjv-masked", 32, lambda p: text(p, width=256)),
    "uniform diffusion": Case("kjv-udlm", 48, text),
    "hollow network": Case("kjv-hollow", 20, text),
    "scores": Case("kjv-sedd", 48, text),
    "tokens": Case("mdlm-owt", 48, tokens, train={"accumulate": 1, "precision": "fp32"}),
    "flow of text": Case("kjv-flow", 32, lambda p: text(p, local_mixing=7, components=[len(LETTERS)], layers=[2])),
    "flow of text in patches": Case(
        "kjv-flow-patch2", 32, lambda p: text(p, local_mixing=7, components=[len(LETTERS), 8], layers=[1, 1])
    ),
    "flow of bytes": Case("bytes-flow", 8, bytes_of_texts),
    "equations from right to left": Case("arithmetic-2", 2048, equations),
    "letters from right to left": Case("kjv-r2l", 192, backward),
    "tokens from right to left": Case("fineweb-2b-r2l", 48, packed, train={"accumulate": 1, "precision": "fp32"}),
    "network turned around": Case("smollm2-r2l", 48, turned, train={"accumulate": 1}),
    "left to right": Case("kjv-ar", 32, lambda p: text(p, width=256)),
    "distilled": Case("kjv-distil", 32, lambda p: taught(p, sites=4)),
    "distilled to first order": Case(
        "kjv-distil-first-order", 24, lambda p: taught(p, sites=16, method="first_order", candidates=0)
    ),
    "distilled from a language model": Case("smollm2-distil", 8, spoken),
    "reward": Case("kjv-reward", 24, pooled),
    "reward by weights": Case("kjv-reward-weights", 40, lambda p: pooled(p, form="weights")),
    "groups": Case("kjv-groups", 4, lambda p: tuned(p, chain_steps=2, group=6)),
    "groups of predictions": Case("kjv-groups", 4, lambda p: tuned(p, chain_steps=2, group=6, form="predictions")),
    "preference": Case("kjv-preference", 6, pooled),
    "denoiser": Case("energy-digits-teacher", 4096),
    "energy": Case("energy-digits", 4096, stage="energy"),
    "energy of a unet": Case("energy-mnist-direct", 24),
    "lattice flow": Case("ising-10x10", 512, lambda _: {"objective": {"trajectories": 8, "buffer": 16}}),
    "flow on graphs": Case("graphs-mis", 512, lambda _: {"objective": {"graphs": 2, "copies": 4, "buffer": 16}}),
    "masked sampler": Case("ising-10x10-masked", 96, lambda _: {"objective": {"samples": 16}}),
    "energy of bits": Case(
        "plane-2spirals", 16384, lambda _: {"objective": {"particles": 64}, "data": {"rows": 17000, "test": 100}}
    ),
    "ratio": Case("kjv-ratio", 16, lambda p: steered(p, draws=2)),
    "detector": Case("aerotiny", 24, pictures),
    "detector in two stages": Case("aerotiny-s2a", 16, pictures),
    "detector of regions": Case("aerotiny-oriented-rcnn", 16, pictures),
}


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def write_sources(folder: Path) -> None:
    """What the trainings read and start from."""
    torch.manual_seed(0)
    words = ["the", "cat", "and", "hound", "bed", "bath", "at", "a", "noon"]
    chosen = torch.randint(len(words), (20000,)).tolist()
    (folder / "text.txt").write_text(" ".join(words[i] for i in chosen))
    lines = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n" * 20} for i in range(200)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    DiscreteDiffusion(DiffusionConfig(**NETWORK, local_mixing=7)).save_pretrained(folder / "masked")  # type: ignore[arg-type]
    Autoregressive(AutoregressiveConfig(**NETWORK)).save_pretrained(folder / "ar")  # type: ignore[arg-type]
    save_pretrained(Autoencoder(AutoencoderConfig(**WIDTHS)), folder / "autoencoder")  # type: ignore[arg-type]
    ClassifierFeatures((1, 8, 8), 17, 10).save(folder / "classifier")
    api.make_task("masked-lm", CASES["language model from left to right"].made(folder)).export(
        folder / "autoregressive"
    )  # type: ignore[attr-defined]
    _write_text_encoder(folder / "text")
    _write_llama(folder / "llama", folder / "text")
    DenoisingModel(catalogue.recipe("energy-digits-teacher").model).save_pretrained(folder / "teacher")  # type: ignore[attr-defined]


def _write_text_encoder(folder: Path) -> None:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(chr(97 + i) for i in range(26))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]"
    ).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(names), **sizes)).save_pretrained(folder)


def _write_llama(folder: Path, tokenizer: Path) -> None:
    """A causal network of the words that the text encoder reads."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=384, max_position_embeddings=128, tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


class Words:
    """A tokenizer of words."""

    bos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [1 + hash(word) % (WORDS - 1) for word in text.split()[:60000]]}

    def decode(self, ids: list[int]) -> str:
        return "word"


def language_model(source: str) -> tuple[Any, Any]:
    """A tokenizer and a language model of 9 million weights."""
    import transformers

    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8}
    config = transformers.LlamaConfig(vocab_size=WORDS, **sizes)
    return Words(), transformers.LlamaForCausalLM(config)


class Enough(Exception):
    """Two steps and a checkpoint were made."""


def measured(folder: Path, recipe: Recipe) -> tuple[int, int]:
    """Peak above the start, and the estimate."""
    estimate = api.describe(recipe)["total_bytes"]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no memory for the training to take unseen
    base = resident()
    peak, done = [0], threading.Event()

    def saving(self: loop._Training) -> None:
        self._save()
        raise Enough

    def watching() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], resident())
            time.sleep(0.004)

    watcher = threading.Thread(target=watching)
    watcher.start()
    try:
        with patch.object(loop._Training, "_validate", saving), patch.object(training, "_refuse_what_cannot_be"):
            api.train(recipe, folder, evaluate=False, device="cpu")
    except Enough:
        pass
    finally:
        done.set()
        watcher.join()
    return peak[0] - base, estimate


def main(root: Path, names: list[str]) -> None:
    """Measure the cases of these names, or all."""
    sources = root / "sources"
    sources.mkdir()
    write_sources(sources)
    with (
        patch.object(token_distil, "language_model", language_model),
        patch.object(token_distil, "language_model_size", lambda source: language_model(source)[1]),
    ):
        # What is imported and made on first use is no training's.
        measured(root / "first", change(catalogue.recipe("tarflow-digits"), {"train": {**TRAIN, "batch_size": 4}}))
        began, found = time.monotonic(), {}
        for number, name in enumerate(names or CASES):
            found[name] = measured(root / str(number), CASES[name].made(sources))
            peak, estimate = found[name]
            told = f"{peak / 2**20:.0f} MiB, told {estimate / 2**20:.0f}: {estimate / peak:.2f}"
            print(f"{name}: {told}; {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
