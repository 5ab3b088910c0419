"""Discrete diffusion: losses against the published forms, the head on masked tokens against all, cached sampling.

``python -m benchmarks.discrete_diffusion [--quick] [--json FILE]``
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.harness import Record, main, paired
from benchmarks.reference_discrete_diffusion import masked_loss, udlm_loss
from tenfold.discrete import bounds
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.options import ChainOptions, Kind
from tenfold.discrete_diffusion.samplers.chain import Sampled, run_chain

Emit = Callable[[Record], None]
VOCABULARY, BATCH, LENGTH = 4000, 8, 128


def uniform_loss(emit: Emit, quick: bool) -> None:
    """The bound of uniform noise from log-probabilities, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    batch = 1 if quick else BATCH
    logits = torch.randn(batch, LENGTH, VOCABULARY, generator=generator)
    clean, noisy = torch.randint(VOCABULARY, (2, batch, LENGTH), generator=generator)
    noisy = torch.where(torch.rand(batch, LENGTH, generator=generator) < 0.5, clean, noisy)
    alpha = torch.rand(batch, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    rate = torch.ones_like(alpha)

    inputs = {dtype: logits.to(dtype).log_softmax(-1) for dtype in (torch.float32, torch.float64)}

    def run(
        loss: Callable[..., Tensor], alpha: Tensor, rate: Tensor, dtype: torch.dtype = torch.float32
    ) -> list[Tensor]:
        log_probs = inputs[dtype].detach().requires_grad_()
        value = loss(log_probs, clean, noisy, alpha, rate)
        value.sum().backward()
        assert log_probs.grad is not None
        return [value.detach(), log_probs.grad]

    def ours() -> list[Tensor]:
        return run(bounds.uniform, alpha, rate)

    def other() -> list[Tensor]:
        return run(udlm_loss, alpha.float(), rate.float())

    exact = run(udlm_loss, alpha, rate, torch.float64)
    error, theirs = (
        max(float((a - b).abs().max()) for a, b in zip(found(), exact, strict=True)) for found in (ours, other)
    )
    seconds = paired(ours, other, 1 if quick else 9)
    sizes = {"vocabulary": VOCABULARY, "tokens": batch * LENGTH}
    note = "the published formula with one-hot tokens; errors of value and gradient against float64"
    emit(Record("uniform-loss", *seconds, "seconds", error, sizes, {"other_error": theirs}, note))


def masked_head(emit: Emit, quick: bool) -> None:
    """Head and loss where half of the tokens are masked; and the same within a whole training step."""
    batch, vocabulary = (1, 4000) if quick else (8, 8192)
    torch.manual_seed(0)
    config = DiffusionConfig(vocabulary=vocabulary, width=256, layers=2, heads=4, length=LENGTH)
    model = DiscreteDiffusion(config)
    assert isinstance(model.source, MaskSource)
    assert isinstance(model.head, nn.Linear)
    source, head = model.source, model.head
    clean = torch.randint(vocabulary, (batch, LENGTH))
    masked = torch.rand(batch, LENGTH) < 0.5
    noisy = torch.where(masked, source.mask, clean)
    alpha, rate = torch.full((batch,), 0.5), torch.ones(batch)
    states = model.network(noisy).detach().requires_grad_()
    rows, _ = masked.nonzero(as_tuple=True)

    def ours_of(hidden: Tensor) -> Tensor:
        log_probs = head(hidden[masked]).log_softmax(-1)[:, None]
        given = (clean[masked][:, None], noisy[masked][:, None], alpha[rows], rate[rows])
        return bounds.masked(log_probs, *given, source).sum()

    def whole() -> Tensor:
        log_probs = model(noisy, None, masked)[:, None]
        given = (clean[masked][:, None], noisy[masked][:, None], alpha[rows], rate[rows])
        return bounds.masked(log_probs, *given, source).sum()

    def other_of(hidden: Tensor) -> Tensor:
        return masked_loss(hidden, head, clean, masked, rate / (1 - alpha)).sum()

    cases: tuple[tuple[str, Callable[[], Tensor], Callable[[], Tensor], str], ...] = (
        ("masked-head", lambda: ours_of(states), lambda: other_of(states), "head and loss alone"),
        ("masked-head-step", whole, lambda: other_of(model.network(noisy)), "with the network's layers"),
    )
    for name, ours, other, note in cases:
        with torch.no_grad():
            error = float((ours() - other()).abs() / other().abs())

        def backward(loss: Callable[[], Tensor]) -> None:
            model.zero_grad(set_to_none=True)
            loss().backward()

        seconds = paired(lambda f=ours: backward(f), lambda f=other: backward(f), 1 if quick else 7)
        sizes = {"vocabulary": vocabulary, "tokens": batch * LENGTH, "masked": int(masked.sum()), "width": config.width}
        emit(Record(name, *seconds, "seconds", error, sizes, {}, f"head on every token; {note}; relative error"))


def sampler_cached(emit: Emit, quick: bool) -> None:
    """Ancestral steps whose unchanged rows are not computed again, against computing all rows at every step; the
    error is how far the rows computed are from their expectation."""
    steps, rows, length = (32, 2, 64) if quick else (256, 16, 64)
    torch.manual_seed(0)
    model = DiscreteDiffusion(DiffusionConfig(width=128, layers=2, heads=4, length=length, local_mixing=7)).eval()
    assert isinstance(model.source, MaskSource)
    start = torch.full((rows, length), model.source.mask)

    def chain(kind: Kind) -> Sampled:
        return run_chain(model, model.schedule, start, ChainOptions(kind=kind, steps=steps), 0)

    seconds = paired(lambda: chain("cached"), lambda: chain("ancestral"), 1 if quick else 5)
    expected = steps * (1 - (1 - 1 / steps) ** length)
    found = sum(run_chain(model, model.schedule, start, ChainOptions(kind="cached", steps=steps), seed).rows
                for seed in range(1 if quick else 4)) / rows / (1 if quick else 4)  # fmt: skip
    details = {"computed_a_row": found, "expected_a_row": expected, "plain_a_row": steps}
    sizes = {"rows": rows, "tokens": length, "steps": steps, "width": model.config.width}
    note = "every step of every row computed; relative error of the rows computed from N (1 - (1 - 1/N)^L)"
    emit(Record("sampler-cached", *seconds, "seconds", abs(found / expected - 1), sizes, details, note))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All records."""
    uniform_loss(emit, quick)
    masked_head(emit, quick)
    sampler_cached(emit, quick)


if __name__ == "__main__":
    sys.exit(main("discrete_diffusion", benchmarks))
