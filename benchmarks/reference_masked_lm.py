"""The published sampling loops of masked diffusion language models, re-created: what they compute, in their order.

Every pass computes the logits of all positions, copies them shifted by one, and takes softmax, logarithm and sort of
dense rows. They reproduce the recorded outputs (``tests/benchmarks``).
"""

import torch
from torch import Tensor
from torch.distributions import Categorical

from tenfold.masked_lm.model import MaskedLM


def sample_rows(
    logits: Tensor, temperature: float, top_p: float | None, top_k: int | None, alg: str
) -> tuple[Tensor, Tensor]:
    """(confidence, token) of rows of logits (R, K), by Dream's rules."""
    if temperature > 0:
        logits = logits / temperature
    lowest = torch.finfo(logits.dtype).min
    if top_p is not None and top_p < 1:
        ordered, order = torch.sort(logits, descending=True)
        beyond = torch.cumsum(torch.softmax(ordered, dim=-1), dim=-1) > top_p
        beyond[..., 1:] = beyond[..., :-1].clone()
        beyond[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), lowest)
    if top_k is not None:
        kth = torch.topk(logits, min(top_k, logits.shape[-1]))[0][..., -1:]
        logits = logits.masked_fill(logits < kth, lowest)
    p = torch.softmax(logits, dim=-1)
    if temperature > 0:
        token = Categorical(probs=p).sample()
        confidence = torch.gather(p, -1, token[:, None]).squeeze(-1)
    else:
        confidence, token = p.max(dim=-1)
    if alg == "topk_margin":
        ordered, _ = torch.sort(p, dim=-1, descending=True)
        confidence = ordered[:, 0] - ordered[:, 1]
    if alg == "entropy":
        confidence = torch.sum(p * torch.log(p + 1e-10), dim=-1)
    return confidence, token


@torch.no_grad()
def dream_generate(
    model: MaskedLM,
    prompt: Tensor,
    length: int,
    steps: int,
    alg: str = "entropy",
    temperature: float = 0.0,
    top_p: float | None = None,
    top_k: int | None = None,
    eps: float = 1e-3,
) -> list[Tensor]:
    """Dream's loop for alg "entropy", "maskgit_plus" or "topk_margin": the sequences (B, N) after each step."""
    mask = model.special.mask
    x = torch.nn.functional.pad(prompt, (0, length), value=mask)
    taus = torch.linspace(1, eps, steps + 1)
    history = []
    for i in range(steps):
        open_ = x == mask
        logits = model.logits(model.hidden(x))
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
        confidence, token = sample_rows(logits[open_], temperature, top_p, top_k, alg)
        mean = open_.sum() / open_.shape[0]
        n = int(mean * (1 - taus[i + 1] / taus[i])) if i < steps - 1 else int(mean)
        if n > 0:
            full = torch.full(x.shape, -torch.inf, dtype=logits.dtype)
            full[open_] = confidence
            _, chosen = torch.topk(full, n)
            proposed = torch.full_like(x, mask)
            proposed[open_] = token
            rows = torch.arange(len(x))[:, None].expand_as(chosen)
            x[rows, chosen] = proposed[rows, chosen]
        history.append(x.clone())
    return history


@torch.no_grad()
def llada_generate(
    model: MaskedLM, prompt: Tensor, length: int, steps: int, block: int, threshold: float | None = None
) -> tuple[Tensor, int]:
    """LLaDA's loop over blocks at temperature 0, with Fast-dLLM's threshold: (sequences, passes)."""
    mask, start = model.special.mask, prompt.shape[1]
    x = torch.nn.functional.pad(prompt, (0, length), value=mask)
    blocks, passes = length // block, 0
    for b in range(blocks):
        low, high = start + b * block, start + (b + 1) * block
        here = x[:, low:high] == mask
        per = steps // blocks
        base, rest = here.sum(1, keepdim=True) // per, here.sum(1, keepdim=True) % per
        plan = base.expand(-1, per) + (torch.arange(per) < rest)
        step = 0
        while (x[:, low:high] == mask).any():
            open_ = x == mask
            logits = model.logits(model.hidden(x))
            passes += 1
            token = logits.argmax(dim=-1)
            p = torch.softmax(logits.to(torch.float64), dim=-1).gather(-1, token[..., None]).squeeze(-1)
            p[:, high:] = -torch.inf
            p = torch.where(open_, p, -torch.inf)
            for row in range(len(x)):
                n = int(open_[row, :high].sum()) if threshold is not None else int(plan[row, step])
                _, chosen = torch.topk(p[row], n)
                if threshold is not None:
                    sure = p[row, chosen] >= threshold
                    sure[0] = True
                    chosen = chosen[sure]
                x[row, chosen] = token[row, chosen]
            step += 1
    return x, passes
