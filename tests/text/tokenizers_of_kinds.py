"""Small tokenizers of every kind that transformers reads, saved as people save them."""

from collections.abc import Callable
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

TEXT = "def é(x):\n\treturn '🙂' + “x” * 12  # naïve ﬁ\n" * 3
PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *"abcdefgrtuvxn():'=+", "▁d", "de", "re"]


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


def byte_fallback() -> tokenizers.Tokenizer:
    """As Llama 2 and Gemma have it."""
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    made = tokenizers.Tokenizer(
        models.BPE(vocabulary, [("d", "e"), ("▁", "d"), ("r", "e")], unk_token="<unk>", byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return made


def unigram() -> tokenizers.Tokenizer:
    """As T5 has it: what the vocabulary lacks is one unknown token."""
    pieces = [("<unk>", 0.0), *((piece, -float(i)) for i, piece in enumerate(["▁", *"abcdefrtux():'", "▁de", "re"], 1))]
    made = tokenizers.Tokenizer(models.Unigram(pieces, 0))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return made


def word_piece() -> tokenizers.Tokenizer:
    """As BERT has it, in small letters and without accents."""
    words = ["[UNK]", *"abcdefghijklmnopqrstuvwxyz():'=+*#12", *("##" + c for c in "abcdefghijklmnopqrstuvwxyz12")]
    made = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return made


def ends_of_words() -> tokenizers.Tokenizer:
    """As CLIP has it."""
    letters = [*"abcdefghijklmnopqrstuvwxyz():'12", *(c + "</w>" for c in "abcdefghijklmnopqrstuvwxyz():'12")]
    made = tokenizers.Tokenizer(
        models.BPE({w: i for i, w in enumerate(["<unk>", *letters])}, [], unk_token="<unk>", end_of_word_suffix="</w>")
    )
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder("</w>")
    return made


def with_begin() -> tokenizers.Tokenizer:
    made = byte_fallback()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    made.__name__: made for made in (byte_level, byte_fallback, unigram, word_piece, ends_of_words, with_begin)
}


def save(kind: str, folder: Path) -> Path:
    """A folder that AutoTokenizer reads."""
    if kind == "byt5":
        ByT5Tokenizer().save_pretrained(folder)
    else:
        unknown = {"byte_level": None, "word_piece": "[UNK]"}.get(kind, "<unk>")
        fast = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind](), unk_token=unknown)
        fast.add_tokens(["naïve"])
        fast.save_pretrained(folder)
    return folder


def sentence_piece(folder: Path) -> Path:
    """A model file of SentencePiece with byte fallback."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text("\n".join(["def f(x): return x", "the tree", "a naive text"] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=300, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, character_coverage=1.0,
    )  # fmt: skip
    return folder / "tokenizer.model"
