"""A masked diffusion model in lm-evaluation-harness, which is imported when the adapter is made."""

from typing import Any

import torch

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.completion.complete import Request, complete_texts, opening, tokenizer_of
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.likelihood import mdm_nll
from tenfold.masked_lm.model import MaskedLM


def harness_model(
    model: MaskedLM,
    options: GenerationOptions | None = None,
    max_tokens: int = 256,
    batch_size: int = 8,
    draws: int = 32,
    seed: int = 0,
) -> Any:
    """An instance of the harness's LM class: pass it as ``lm_eval.simple_evaluate(model=...)``.

    ``generate_until`` samples by diffusion and cuts at the stop strings afterwards. ``loglikelihood`` is minus the
    Monte-Carlo bound over the continuation (``draws`` masks, the same seed for every request): a lower bound of
    log p, not log p itself. Its second value says whether greedy decoding of as many tokens gives the continuation.

    Raises UsageError where the package lm_eval is missing."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise UsageError("the adapter needs the package lm_eval, which is missing; run: pip install lm_eval") from None
    chosen = options or GenerationOptions(alg="entropy")

    class MaskedDiffusion(LM):
        """Requests of the harness, answered by a masked diffusion model."""

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            """Texts until one of the request's stop strings."""
            answers = []
            for request in progress.track(requests, "generating", "requests"):
                context, settings = request.args
                stop = settings.get("until") or []
                tokens = int(settings.get("max_gen_toks", max_tokens))
                heat = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else chosen.temperature
                made, _ = complete_texts(
                    model,
                    [Request(context, None, tokens)],
                    chosen.with_changes(temperature=heat),
                    [stop] if isinstance(stop, str) else [text for text in stop if text],
                    seed=seed,
                )
                answers.append(made[0].text)
            return answers

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            """(−bound in nats, whether greedy decoding gives it) of continuations."""
            return [
                (score(model, context, text, draws, seed, batch_size), is_greedy(model, context, text))
                for context, text in (request.args for request in progress.track(requests, "scoring", "requests"))
            ]

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            """−bound of whole texts, in windows of the model's length."""
            return [
                sum(score(model, "", part, draws, seed, batch_size) for part in _windows(model, request.args[0]))
                for request in progress.track(requests, "scoring", "requests")
            ]

    return MaskedDiffusion()


def pair(model: MaskedLM, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Tokens of both; an empty context is the model's opening. UsageError for an empty continuation."""
    encode = tokenizer_of(model).encode
    before, after = list(encode(context)) or opening(model), list(encode(continuation))
    if not after:
        raise UsageError("the continuation is empty, so it has no likelihood; give at least one token")
    return before[-(model.max_positions - len(after)) :], after


def score(model: MaskedLM, context: str, continuation: str, draws: int, seed: int, batch: int = 8) -> float:
    """Minus the bound on −log p(continuation | context), in nats.

    The whole number of masks is stratified over the draws, so a continuation of one token is exact."""
    before, after = pair(model, context, continuation)
    tokens = torch.tensor([before + after], device=model.device)
    maskable = torch.arange(tokens.shape[1], device=tokens.device)[None] >= len(before)
    count = 1 if len(after) == 1 else draws
    return -float(mdm_nll(model, tokens, count, "count", maskable=maskable, seed=seed, batch=batch).nats)


def is_greedy(model: MaskedLM, context: str, continuation: str) -> bool:
    """Whether decoding as many tokens at temperature 0, one a pass, surest first, gives the continuation."""
    before, after = pair(model, context, continuation)
    prompt = torch.tensor([before], device=model.device)
    found = diffusion_generate(model, prompt, max_new_tokens=len(after), alg="entropy")
    return bool(found.completions[0].tolist() == after)


def _windows(model: MaskedLM, text: str) -> list[str]:
    tokens, size = list(tokenizer_of(model).encode(text)), model.max_positions - 1
    return [tokenizer_of(model).decode(tokens[i : i + size]) for i in range(0, len(tokens), size)]
