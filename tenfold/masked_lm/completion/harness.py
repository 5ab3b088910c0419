"""A masked diffusion model in lm-evaluation-harness, which is imported when the adapter is made."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.completion.complete import Request, complete_texts, opening, tokenizer_of
from tenfold.masked_lm.decoding.options import DecodingOptions, GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.likelihood import mdm_nll
from tenfold.masked_lm.model import MaskedLM
from tenfold.settings.checks import at_least, settings
from tenfold.settings.values import read
from tenfold.text.networks import one_sentence
from tenfold.text.tokenizer import FileTokenizer

# Names of one number in the tasks of the harness; the first that is given counts.
_NEW_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_DECODING = tuple(field.name for field in fields(DecodingOptions))
Encode = Callable[[str], list[int]]


class Pair(NamedTuple):
    """Token ids before, and those that are scored."""

    before: list[int]
    after: list[int]


class Asked(NamedTuple):
    """What a task asks of a generation."""

    tokens: int
    stop: tuple[str, ...]
    options: GenerationOptions


@settings
class HarnessOptions:
    """How requests of the harness are answered.

    Attributes:
        max_tokens: new tokens where a task says nothing.
        batch_size: requests computed together; no answer depends on it.
        draws: masks of a request's bound.
        seed: keys all draws, with the tokens of a request and its number among equal ones.
    """

    max_tokens: int = 256
    batch_size: int = 8
    draws: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", max_tokens=1, batch_size=1, draws=1)


def harness_model(
    model: MaskedLM,
    options: GenerationOptions | None = None,
    max_tokens: int = 256,
    batch_size: int = 8,
    draws: int = 32,
    seed: int = 0,
) -> Any:
    """An instance of the harness's LM class: pass it as ``lm_eval.simple_evaluate(model=...)``.

    ``generate_until`` samples by diffusion and cuts at the stop strings afterwards. It obeys ``until``, ``do_sample``,
    ``temperature``, the names of the number of new tokens, and every field of ``DecodingOptions`` (``top_p``, ``steps``
    …); other arguments are refused. Repeats of a request draw anew. ``loglikelihood`` is minus the Monte-Carlo bound
    over the continuation (``draws`` masks): a lower bound of log p, not log p itself. Its second value says whether
    greedy decoding of as many tokens gives the continuation. What is too long loses its beginning, and a continuation
    or a text longer than the model is scored in windows of token ids, each with the tokens before it.

    Raises UsageError where the package lm_eval is missing, and for a model without a tokenizer."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise UsageError("the adapter needs the package lm_eval, which is missing; run: pip install lm_eval") from None
    chosen, tokenizer = options or GenerationOptions(alg="entropy"), tokenizer_of(model)
    how = HarnessOptions(max_tokens, batch_size, draws, seed)

    class MaskedDiffusion(LM):
        """Requests of the harness, answered by a masked diffusion model."""

        def __init__(self) -> None:
            super().__init__()
            self.encode: Encode = tokenizer.encode

        @property
        def tokenizer_name(self) -> str:
            """What the harness keys its cache of requests by."""
            return tokenizer.inner.name_or_path.replace("/", "__") if isinstance(tokenizer, FileTokenizer) else "bytes"

        def chat_template(self, chat_template: bool | str = False) -> str:
            """The template's text, for the records; empty where there is none."""
            template = tokenizer.inner.chat_template if isinstance(tokenizer, FileTokenizer) else None
            return template if isinstance(template, str) else ""

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            """A conversation as the tokenizer's template writes it. From now on special tokens that are written out in
            contexts are read as such."""
            text, self.encode = templated(tokenizer, chat_history, add_generation_prompt)
            return text

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            """Texts until one of the request's stop strings."""
            wanted = [asked(request.args[1], chosen, how.max_tokens) for request in requests]
            prompts = [
                cut(model, self.encode(request.args[0]), ask.tokens)
                for request, ask in zip(requests, wanted, strict=True)
            ]
            texts = generate(model, prompts, wanted, how)
            return self._kept("generate_until", requests, texts)

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            """(−bound in nats, whether greedy decoding gives it) of continuations."""
            pairs = [pair(model, request.args[0], request.args[1], self.encode) for request in requests]
            parts = [list(windows(*whole, model.max_positions)) for whole in pairs]
            flat = [part for whole in parts for part in whole]
            logs, sure = iter(scores(model, flat, how)), iter(are_greedy(model, flat, how.batch_size))
            found = [(sum(next(logs) for _ in whole), all([next(sure) for _ in whole])) for whole in parts]
            return self._kept("loglikelihood", requests, found)

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            """−bound of whole texts, in windows of the model's length; 0 for an empty one."""
            parts = [
                list(windows(opening(model), self.encode(request.args[0]), model.max_positions)) for request in requests
            ]
            logs = iter(scores(model, [part for whole in parts for part in whole], how))
            found = [sum((next(logs) for _ in whole), 0.0) for whole in parts]
            return self._kept("loglikelihood_rolling", requests, found)

        def _kept(self, kind: str, requests: list[Any], answers: list[Any]) -> list[Any]:
            for request, answer in zip(requests, answers, strict=True):
                self.cache_hook.add_partial(kind, request.args, answer)
            return answers

    return MaskedDiffusion()


# --- what is asked --------------------------------------------------------------------------------------------


def asked(given: Mapping[str, Any], chosen: GenerationOptions, max_tokens: int) -> Asked:
    """The generation that a task's arguments ask for; what they leave open is ``chosen``.

    Raises UsageError for an argument that a diffusion model cannot obey."""
    told = dict(given)
    until = told.pop("until", None) or []
    stop = read(list[str], [until] if isinstance(until, str) else list(until), "until")
    named = [value for name in _NEW_TOKENS if (value := told.pop(name, None)) is not None]
    tokens = read(int, named[0], _NEW_TOKENS[0]) if named else max_tokens
    if tokens < 1:
        raise UsageError(f"{_NEW_TOKENS[0]} is {tokens}; ask for at least one token")
    if told.pop("num_beams", 1) != 1:
        raise UsageError("num_beams asks for a beam search, which a diffusion model has not; leave it out")
    if told.get("top_k") == 0 or told.get("top_k") == -1:
        told["top_k"] = None  # how other backends write "all tokens"
    draws = read(bool | None, told.pop("do_sample", None), "do_sample")
    changes = {name: told.pop(name) for name in list(told) if name in _DECODING}
    if told:
        also = ("until", "do_sample", *_NEW_TOKENS, *_DECODING)
        raise UsageError(f"the generation argument {next(iter(told))!r} is not known here; known are {', '.join(also)}")
    if draws is False:
        changes["temperature"] = 0.0
    elif draws and "temperature" not in changes:
        changes["temperature"] = chosen.temperature or 1.0
    return Asked(tokens, tuple(text for text in stop if text), chosen.with_changes(**changes))


def templated(tokenizer: Any, chat_history: list[dict[str, str]], open_answer: bool) -> tuple[str, Encode]:
    """A conversation as the tokenizer's template writes it, and what reads such text. Raises UsageError where there is
    no template, or it does not take the conversation."""
    if not isinstance(tokenizer, FileTokenizer) or not tokenizer.inner.chat_template:
        raise UsageError("the model's tokenizer has no chat template; evaluate it without apply_chat_template")
    with one_sentence("the tokenizer's chat template does not take this conversation"):
        text = tokenizer.inner.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=open_answer, continue_final_message=not open_answer
        )
    return str(text), tokenizer.encode_marked


def cut(model: MaskedLM, prompt: list[int], tokens: int) -> tuple[int, ...]:
    """A prompt without its beginning where it leaves no room for new tokens; an empty one is the model's opening.

    Raises UsageError where not even one token of it has room."""
    room = model.max_positions - tokens
    if room < 1:
        raise UsageError(
            f"max_gen_toks is {tokens}, but the model has {model.max_positions} positions, of which the prompt needs "
            "one at least; ask for fewer tokens"
        )
    if model.special.mask in prompt:
        raise UsageError("a prompt has the mask token, which marks what is to be filled in; take it out")
    return tuple(prompt or opening(model))[-room:]


def pair(model: MaskedLM, context: str, continuation: str, encode: Encode) -> Pair:
    """Tokens of both, as they lie in the whole text; an empty context is the model's opening. Blanks at the context's
    end belong to the continuation, where vocabularies have them.

    Raises UsageError for an empty continuation."""
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation if kept else continuation
    before = encode(kept or context)
    after = encode((kept or context) + continuation)[len(before) :]
    if not after:
        raise UsageError("the continuation is empty, so it has no likelihood; give at least one token")
    return Pair(before or opening(model), after)


def windows(before: list[int], after: list[int], size: int) -> Iterator[Pair]:
    """Parts of at most ``size`` tokens in which every token of ``after`` is scored once, with as many tokens before it
    as there is room for, and one at least.

    >>> [tuple(part) for part in windows([9], [0, 1, 2, 3, 4], 4)]
    [([9], [0, 1, 2]), ([1, 2], [3, 4])]
    """
    whole, start = before + after, len(before)
    while start < len(whole):
        end = min(start + size - 1, len(whole))
        yield Pair(whole[max(0, end - size) : start], whole[start:end])
        start = end


# --- answers --------------------------------------------------------------------------------------------------


def generate(
    model: MaskedLM, prompts: Sequence[tuple[int, ...]], wanted: Sequence[Asked], how: HarnessOptions
) -> list[str]:
    """A text for each prompt; equal ones draw differently."""
    seen: Counter[Any] = Counter()
    numbers, groups = [], defaultdict(list)
    for place, (prompt, ask) in enumerate(zip(prompts, wanted, strict=True)):
        numbers.append(seen[prompt, ask])
        seen[prompt, ask] += 1
        groups[ask].append(place)
    texts = [""] * len(prompts)
    with progress.task("generating", len(prompts), "requests") as step:
        for ask, places in groups.items():
            for part in _batches(places, [len(prompts[place]) for place in places], how.batch_size):
                requests = [Request(prompts[place], None, ask.tokens) for place in part]
                samples = [numbers[place] for place in part]
                made, _ = complete_texts(model, requests, ask.options, ask.stop, seed=how.seed, samples=samples)
                for place, completion in zip(part, made, strict=True):
                    texts[place] = completion.text
                step(len(part))
    return texts


def scores(model: MaskedLM, pairs: Sequence[Pair], how: HarnessOptions) -> list[float]:
    """Minus the bounds on −log p(after | before), in nats.

    The whole number of masks is stratified over the draws, so a continuation of one token is exact."""
    found = [0.0] * len(pairs)
    lone = [i for i, each in enumerate(pairs) if len(each.after) == 1]
    longer = [i for i, each in enumerate(pairs) if len(each.after) > 1]
    with progress.task("scoring", len(pairs), "requests") as step:
        for places, draws in ((lone, 1), (longer, how.draws)):
            for part in _batches(places, [_length(pairs[i]) for i in places], how.batch_size):
                tokens, real, scored = _rows(model, [pairs[i] for i in part])
                nats = mdm_nll(
                    model, tokens, draws, "count",
                    maskable=scored, real=real, seed=how.seed, samples=[0] * len(part), batch=len(part),
                ).nats  # fmt: skip
                for i, value in zip(part, nats.tolist(), strict=True):
                    found[i] = -value
                step(len(part))
    return found


def are_greedy(model: MaskedLM, pairs: Sequence[Pair], batch: int) -> list[bool]:
    """Whether decoding as many tokens at temperature 0, one a pass, surest first, gives the continuations."""
    found = [False] * len(pairs)
    with progress.task("decoding greedily", len(pairs), "requests") as step:
        for part in _batches(range(len(pairs)), [_length(each) for each in pairs], batch):
            tokens, real, scored = _rows(model, [pairs[i] for i in part])
            holes = tokens.masked_fill(scored, model.special.mask)
            made = diffusion_generate(model, holes, real.long(), infill=True, alg="entropy", seed=0).sequences
            for i, same in zip(part, ((made == tokens) | ~scored).all(dim=1).tolist(), strict=True):
                found[i] = bool(same)
            step(len(part))
    return found


def _length(each: Pair) -> int:
    return len(each.before) + len(each.after)


def _batches(places: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Places by length, the longest first, so that little is padded and what takes most memory comes at once."""
    ordered = [place for _, place in sorted(zip(lengths, places, strict=True), key=lambda known: -known[0])]
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _rows(model: MaskedLM, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (b, n) padded on the left, which are real, and which are scored."""
    longest = max(_length(each) for each in pairs)
    filler = model.special.pad if model.special.pad is not None else 0
    rows = [[filler] * (longest - _length(each)) + each.before + each.after for each in pairs]
    place = torch.arange(longest, device=model.device)
    blank = torch.tensor([longest - _length(each) for each in pairs], device=model.device)
    first = torch.tensor([longest - len(each.after) for each in pairs], device=model.device)
    return torch.tensor(rows, device=model.device), place >= blank[:, None], place >= first[:, None]
