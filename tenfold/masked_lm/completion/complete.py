"""Text in, text out: completion and infilling in the form of OpenAI's completions endpoint."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.files import json_text
from tenfold.masked_lm.decoding.generation import Generation
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import check, diffusion_generate
from tenfold.masked_lm.model import MaskedLM
from tenfold.settings.checks import settings
from tenfold.settings.values import read
from tenfold.text.tokenizer import Tokenizer


@settings
class Request:
    """A text to complete, or its token ids, or with a ``suffix`` the text before and after a hole; as many as
    ``tokens`` are filled in."""

    prompt: str | tuple[int, ...]
    suffix: str | None = None
    tokens: int = 128

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UsageError(f"max_tokens is {self.tokens}; ask for at least one token")


@dataclass(frozen=True)
class Completion:
    """What was filled in.

    ``finish_reason`` is "stop" for an end token or a stop string, which ``text`` does not include, else "length"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def opening(model: MaskedLM) -> list[int]:
    """Tokens to begin an empty prompt with: begin, end or padding, else a line break."""
    special = model.special
    for number in (special.bos, special.eos, special.pad):
        if number is not None:
            return [number]
    return list(tokenizer_of(model).encode("\n"))


def tokenizer_of(model: MaskedLM) -> Tokenizer:
    """The model's tokenizer; UsageError where it has none."""
    if model.tokenizer is None:
        raise UsageError("the model has no tokenizer, so it reads token ids only; use diffusion_generate")
    return model.tokenizer


def sequences(model: MaskedLM, requests: Sequence[Request]) -> tuple[Tensor, Tensor]:
    """(tokens, attention mask) of requests, masks in their holes, padded on the left."""
    encode, mask = tokenizer_of(model).encode, model.special.mask
    rows = []
    for request in requests:
        before = list(encode(request.prompt) if isinstance(request.prompt, str) else request.prompt)
        if not before and model.logit_shift:
            before = opening(model)
        rows.append(before + [mask] * request.tokens + list(encode(request.suffix or "")))
    longest = max(map(len, rows))
    filler = model.special.pad if model.special.pad is not None else 0
    device = model.device
    tokens = torch.tensor([[filler] * (longest - len(row)) + row for row in rows], device=device)
    real = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return tokens, real


def complete_texts(
    model: MaskedLM,
    requests: Sequence[Request],
    options: GenerationOptions | None = None,
    stop: Sequence[str] = (),
    generator: torch.Generator | None = None,
    on_commit: Callable[[int, list[int]], None] | None = None,
    *,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
) -> tuple[list[Completion], Generation]:
    """Fill in a batch of requests; completions end at the model's end tokens and at ``stop`` strings, infills at the
    latter alone. None of them depends on the others: draws are keyed as in ``diffusion_generate``.

    Raises UsageError for a request of no tokens, an empty stop string, and whatever ``diffusion_generate`` refuses."""
    _check(requests, stop)
    chosen = _options(model, options)
    tokens, real = sequences(model, requests)
    ending = [request.suffix is None for request in requests]
    found = diffusion_generate(
        model, tokens, real, chosen, generator=generator, seed=seed, samples=samples, ending=ending, on_commit=on_commit
    )
    hole = tokens == model.special.mask
    made = []
    for row, request in enumerate(requests):
        ids = found.sequences[row][hole[row]].tolist()
        given = int(real[row].sum()) - len(ids)
        made.append(_finished(model, ids, () if request.suffix is not None else model.special.ends, stop, given))
    return made, found


def _options(model: MaskedLM, options: GenerationOptions | None) -> GenerationOptions:
    options = options or GenerationOptions(alg="entropy")
    stops = () if options.chosen == "remdm" else options.stop_ids or model.special.ends
    return options.with_changes(infill=True, stop_ids=stops)


def check_request(model: MaskedLM, request: Request, options: GenerationOptions | None = None) -> None:
    """Raises UsageError, before any pass, for what ``complete_texts`` would refuse."""
    tokens, real = sequences(model, [request])
    check(model, tokens, real, _options(model, options))


def _check(requests: Sequence[Request], stop: Sequence[str]) -> None:
    if not requests:
        raise UsageError("there is no prompt to complete; give at least one")
    if any(not text for text in stop):
        raise UsageError("a stop string is empty, which would end every text at once; leave it out")


def _finished(
    model: MaskedLM, ids: list[int], ends: Sequence[int], stop: Sequence[str], prompt_tokens: int
) -> Completion:
    reason = "length"
    for place, token in enumerate(ids):
        if token in ends:
            ids, reason = ids[:place], "stop"
            break
    text = tokenizer_of(model).decode(ids)
    cut = min((text.index(s) for s in stop if s in text), default=None)
    if cut is not None:
        text, reason = text[:cut], "stop"
    return Completion(text, reason, prompt_tokens, len(ids))


def create_completion(
    model: MaskedLM,
    prompt: str | Sequence[str],
    suffix: str | None = None,
    max_tokens: int = 128,
    temperature: float = 0.2,
    top_p: float | None = 0.95,
    stop: str | Sequence[str] | None = None,
    n: int = 1,
    seed: int | None = None,
    stream: bool = False,
    options: GenerationOptions | None = None,
    name: str = "masked-lm",
) -> dict[str, Any] | Iterator[dict[str, Any]]:
    """The response of OpenAI's completions endpoint as a dictionary; with ``stream`` an iterator of its chunks.

    >>> from tenfold.masked_lm import MaskedLMConfig
    >>> model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64))
    >>> answer = create_completion(model, "def f(x):", suffix="\\n", max_tokens=4)
    >>> answer["object"], answer["usage"]["prompt_tokens"], len(answer["choices"])
    ('text_completion', 10, 1)

    Args:
        prompt: a text, or several.
        suffix: text behind the hole of ``max_tokens`` tokens: infilling.
        temperature: 0 for the most likely tokens.
        stop: up to any number of strings, cut off with what follows.
        n: choices for each prompt.
        seed: of the draws; None draws anew each time.
        stream: chunks come as soon as text has no mask left of it any more.
        options: further choices of ``GenerationOptions``; alg "entropy" without.

    Raises:
        UsageError: see ``complete_texts``; stream with several prompts or choices.
    """
    prompts = read(list[str], [prompt] if isinstance(prompt, str) else prompt, "prompt")
    stops = read(list[str], [stop] if isinstance(stop, str) else stop or [], "stop")
    n, max_tokens, seed = read(int, n, "n"), read(int, max_tokens, "max_tokens"), read(int | None, seed, "seed")
    if n < 1:
        raise UsageError(f"n is {n}; ask for at least one choice")
    base = options or GenerationOptions(alg="entropy")
    chosen = base.with_changes(temperature=temperature, top_p=top_p)
    requests = [Request(text, suffix, max_tokens) for text in prompts for _ in range(n)]
    head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()), "model": name}
    if stream:
        if len(requests) > 1:
            raise UsageError(f"stream gives one text at a time, but {len(requests)} are asked for; set n to 1")
        _check(requests, stops)
        return _stream(model, requests[0], chosen, stops, seed, head)
    made, found = complete_texts(model, requests, chosen, stops, seed=seed)
    return {**head, "choices": [_choice(i, c.text, c.finish_reason) for i, c in enumerate(made)]} | _usage(
        made, found, n
    )


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _usage(made: Sequence[Completion], found: Generation, n: int = 1) -> dict[str, Any]:
    given = sum(c.prompt_tokens for c in made[::n])
    new = sum(c.completion_tokens for c in made)
    usage = {"prompt_tokens": given, "completion_tokens": new, "total_tokens": given + new}
    return {"usage": usage, "passes": found.nfe, "token_forwards": found.token_forwards}


def _stream(
    model: MaskedLM,
    request: Request,
    options: GenerationOptions,
    stop: Sequence[str],
    seed: int | None,
    head: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Chunks of text; the last one has the reason of the end, and the usage."""
    told: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        try:
            told.put(complete_texts(model, [request], options, stop, None, lambda _, ids: told.put(ids), seed=seed))
        except BaseException as error:  # the reader raises it
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    ids: list[int] = []
    sent, held = 0, max(map(len, stop), default=1) - 1
    ends = model.special.ends
    while True:
        item = told.get()
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, tuple):
            (completion,), found = item
            rest = _choice(0, completion.text[sent:], completion.finish_reason)
            yield {**head, "choices": [rest], **_usage([completion], found)}
            return
        ids = (ids + item)[: request.tokens]
        place = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        text = tokenizer_of(model).decode(ids[:place]).rstrip("�")
        # What may be the beginning of a stop string waits; the last chunk brings it.
        safe = min([len(text) - held, *(text.index(s) for s in stop if s in text)])
        if safe > sent:
            yield {**head, "choices": [_choice(0, text[sent:safe], None)]}
            sent = safe


def as_events(chunks: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Chunks as server-sent events, "[DONE]" at the end."""
    for chunk in chunks:
        yield f"data: {json_text(chunk)}\n\n"
    yield "data: [DONE]\n\n"
