"""TarFlow against the published algorithm, and the solvers against each other: ``python -m benchmarks.flows``.

Weights are trained on real digits first (three minutes on two idle cores; less with ``--quick``; kept in a
cache), because how fast parallel solvers converge is a property of trained weights. Where a CUDA device is
present, the same comparison follows there in bfloat16 at 256 and 1024 tokens.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Record, main, paired
from benchmarks.reference_starflow import ReferenceStarFlow
from benchmarks.reference_tarflow import ReferenceTarFlow
from benchmarks.trained import LATENT, LONG, SHORT, trained
from tenfold.flows.flow import Flow
from tenfold.flows.loss import negative_log_likelihood
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.calibrate import calibrate
from tenfold.starflow.model import StarFlow
from tenfold.tarflow.model import TarFlow

Emit = Callable[[Record], None]
# Checked once by hand, on the same machine and weights, one thread, batch 8, 256 tokens: sampling time of the
# re-created algorithm over that of the published repository (apple/ml-tarflow).
CHECKED = "checked against the published repository: re-creation / original = 1.03 plain, 1.00 guided"
# The same for apple/ml-starflow: random weights, text of 8 tokens, float32 outputs within 4e-6 of the original's.
CHECKED_LATENT = (
    "checked against the published repository: re-creation / original = 0.87 plain, 0.90 guided, Jacobi in segments of "
    "16: 0.81 plain, 0.99 guided"
)


def sizes(flow: TarFlow, batch: int, **more: Any) -> dict[str, Any]:
    """What ran."""
    c = flow.config
    return {
        "tokens": c.tokens,
        "dims": c.token_dim,
        "width": c.width,
        "blocks": c.blocks,
        "layers": c.layers,
    } | {
        "batch": batch,
        **more,
    }


def draw(flow: Flow, batch: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Noise and labels of a sampling run."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, flow.config.tokens, flow.config.token_dim, generator=generator)
    return noise, torch.arange(batch) % 10


def difference(a: Tensor, b: Tensor) -> float:
    """max |a − b|."""
    return float((a - b).abs().max())


def sequential(emit: Emit, flow: TarFlow, repeats: int) -> None:
    """Our sequential sampler against the published algorithm."""
    reference, batch = ReferenceTarFlow(flow), 8
    noise, labels = draw(flow, batch)
    for name, weight in (("sequential-plain", 0.0), ("sequential-guided", 1.0)):
        ours = lambda weight=weight: sample(flow, batch, labels, noise=noise, guidance=weight)  # noqa: E731
        other = lambda weight=weight: reference.sample(noise, labels, weight)  # noqa: E731
        error = difference(ours(), other())
        seconds = paired(ours, other, repeats)
        exact = sample(flow.double(), batch, labels, noise=noise.double(), guidance=weight)
        flow.float()
        details = {
            "ours_error": difference(ours(), exact),
            "other_error": difference(other(), exact),
        }
        emit(Record(name, *seconds, "seconds", error, sizes(flow, batch, guidance=weight), details, CHECKED))


def solvers(emit: Emit, flow: TarFlow, batch: int, weight: float, repeats: int) -> None:
    """Each parallel solver against our sequential one: clock, calls, tokens, error."""
    noise, labels = draw(flow, batch)
    options: list[dict[str, Any]] = [
        {"solver": "jacobi"},
        {"solver": "gs", "segments": 8},
        {"solver": "frontier", "window": 32},
        {"solver": "frontier", "window": flow.config.tokens},
        {"solver": "selective"},
    ]
    guided = "-guided" if weight else ""
    base = lambda: sample(flow, batch, labels, noise=noise, guidance=weight)  # noqa: E731
    truth, info = sample(flow, batch, labels, noise=noise, guidance=weight, return_info=True)
    for option in options:
        run = lambda option=option: sample(flow, batch, labels, noise=noise, guidance=weight, **option)  # noqa: E731
        x, work = sample(flow, batch, labels, noise=noise, guidance=weight, return_info=True, **option)
        name = option["solver"] + (f"-{option['window']}" if "window" in option else "")
        details = {
            "ours": work.to_dict() | {"blocks": [(b.block, b.calls, b.tokens) for b in work.blocks]},
            "other_calls": info.calls,
            "other_tokens": info.tokens,
        }
        note = "approximate by design" if not work.exact else ""
        seconds = paired(run, base, max(1, repeats // 2), warm_up=0)
        emit(
            Record(
                f"{name}{guided}-b{batch}",
                *seconds,
                "seconds",
                difference(x, truth),
                sizes(flow, batch),
                details,
                note,
            )
        )


def automatic(emit: Emit, flow: TarFlow, images: Tensor, labels: Tensor, batch: int, repeats: int) -> None:
    """ "auto" after calibration on training images, against our sequential solver."""
    x = images[:batch] + LONG.sigma * torch.randn(images[:batch].shape, generator=torch.Generator().manual_seed(2))
    flow.calibration = calibrate(flow, x, labels[:batch])  # type: ignore[assignment]
    noise, classes = draw(flow, batch)
    run = lambda: sample(flow, batch, classes, noise=noise, solver="auto")  # noqa: E731
    base = lambda: sample(flow, batch, classes, noise=noise)  # noqa: E731
    result, info = sample(flow, batch, classes, noise=noise, solver="auto", return_info=True)
    seconds = paired(run, base, 4 * repeats + 1)
    details = {"calls": info.calls, "tokens": info.tokens, "reasons": [block.reason for block in info.blocks]}
    details["solvers"] = [block.solver for block in info.blocks]
    emit(Record(f"auto-b{batch}", *seconds, "seconds", difference(result, base()), sizes(flow, batch), details))


def exact_calls(emit: Emit, flow: TarFlow) -> None:
    """Network calls of the exact frontier against the sequential solver's, 64 tokens."""
    batch = 16
    noise, labels = draw(flow, batch)
    truth, other = sample(flow, batch, labels, noise=noise, return_info=True)
    for name, options in (
        ("exact-calls", {"solver": "frontier", "window": flow.config.tokens}),
        ("approximate-calls", {"solver": "jacobi", "tol": 0.5}),
    ):
        x, info = sample(flow, batch, labels, noise=noise, return_info=True, **options)
        details = {"tokens": info.tokens, "other_tokens": other.tokens, "residual": info.max_residual}
        note = "one call more per block is the certificate" if name != "exact-calls" else ""
        emit(
            Record(
                name,
                info.calls,
                other.calls,
                "calls",
                difference(x, truth),
                sizes(flow, batch),
                details,
                note,
            )
        )


def training(emit: Emit, flow: TarFlow, images: Tensor, labels: Tensor, repeats: int) -> None:
    """One optimiser step, and the log-likelihood, against the published forward pass."""
    batch = 8
    x, y = images[:batch], labels[:batch]
    reference = ReferenceTarFlow(flow)
    start = {name: value.clone() for name, value in flow.state_dict().items()}
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=1e-4)

    def step(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
            return value.detach()

        return run

    def our_loss() -> Tensor:
        output = flow(x, y)
        return negative_log_likelihood(output.z, output.logdet)

    error = difference(our_loss().detach(), reference.loss(x, y).detach())
    seconds = paired(step(our_loss), step(lambda: reference.loss(x, y)), repeats)
    emit(Record("train-step", *seconds, "seconds", error, sizes(flow, batch)))
    flow.load_state_dict(start)

    with torch.no_grad():
        our_score = lambda: flow.log_prob(x, y)  # noqa: E731
        other_score = lambda: reference.log_prob(x, y)  # noqa: E731
        scale = flow.config.dimensions
        error = difference(our_score(), other_score()) / scale
        seconds = paired(our_score, other_score, repeats)
        note = "max error in nats per dimension"
        emit(Record("log-prob", *seconds, "seconds", error, sizes(flow, batch), note=note))


@dataclass(frozen=True)
class LatentCase:
    """One sampling run of a STARFlow: noise, labels, guidance, and the exact result in double precision."""

    flow: StarFlow
    noise: Tensor
    labels: Tensor
    weight: float
    exact: Tensor

    def ours(self, **solver: Any) -> Any:
        """Our sampler."""
        return sample(self.flow, len(self.noise), self.labels, noise=self.noise, guidance=self.weight, **solver)

    def published(self, jacobi: bool) -> tuple[Tensor, ReferenceStarFlow]:
        """The published sampler's result, and the sampler with its counts."""
        reference, rows = ReferenceStarFlow(self.flow), len(self.noise)
        given, null = self.flow.condition_weights(self.labels, rows), self.flow.condition_weights(None, rows)
        return reference.sample(self.noise, given, null, self.weight, jacobi=jacobi), reference

    def record(self, name: str, jacobi: bool, repeats: int, **solver: Any) -> Record:
        """Ours against the published sequential or blockwise Jacobi sampler."""
        x, info = self.ours(return_info=True, **solver)
        other, reference = self.published(jacobi)
        details = {
            "calls": info.calls,
            "tokens": info.tokens,
            "other_calls": reference.calls,
            "other_tokens": reference.tokens,
            "ours_error": difference(x.double(), self.exact),
            "other_error": difference(other.double(), self.exact),
            **solver,
        }
        seconds = paired(lambda: self.ours(**solver), lambda: self.published(jacobi), repeats)
        c = self.flow.config
        what = {"tokens": c.tokens, "dims": c.token_dim, "width": c.deep.width, "layers": list(c.layers)}
        kind = "blockwise Jacobi" if jacobi else "sequential"
        note = f"other: the published {kind} sampler; {CHECKED_LATENT}"
        sizes = {**what, "batch": len(self.noise), "guidance": self.weight}
        return Record(name, *seconds, "seconds", difference(x, other), sizes, details, note)


def latent(emit: Emit, flow: StarFlow, repeats: int) -> None:
    """STARFlow: our samplers against the published ones, token by token and by blockwise Jacobi sweeps."""
    noise, labels = draw(flow, 8)
    parallel: tuple[dict[str, Any], ...] = (
        {"solver": "gs", "segments": 16, "tol": 0.05},
        {"solver": "frontier", "window": 16},
        {"solver": "frontier", "window": 64, "tol": 0.05},
        {"solver": "jacobi"},
    )
    for suffix, weight in (("", 0.0), ("-guided", 2.0)):
        exact = sample(flow.double(), len(noise), labels, noise=noise.double(), guidance=weight)
        case = LatentCase(flow.float(), noise, labels, weight, exact)
        emit(case.record(f"starflow-sequential{suffix}", False, repeats))
        emit(case.record(f"starflow-sequential-against-jacobi{suffix}", True, repeats))
        for solver in parallel:
            name = "-".join(str(solver[key]) for key in ("solver", "window", "segments", "tol") if key in solver)
            emit(case.record(f"starflow-{name}{suffix}", True, repeats, **solver))


def gpu(emit: Emit, repeats: int) -> None:
    """The same on a GPU, with random weights: a step is bound by kernel launches, whatever the weights are."""
    for side in (32, 64):
        config = replace(LONG.config, shape=(3, side, side), width=512, blocks=4, layers=4)
        torch.manual_seed(0)
        flow = TarFlow(config)
        for block in flow.blocks:
            torch.nn.init.normal_(block.proj_out.weight, std=0.01)
        gpu_size(emit, flow.to("cuda", torch.bfloat16).eval(), repeats)


def gpu_size(emit: Emit, flow: TarFlow, repeats: int) -> None:
    """bfloat16, fused attention and the compiled static step against the published algorithm."""
    batch, reference, tokens = 16, ReferenceTarFlow(flow), flow.config.tokens
    noise, labels = (t.to("cuda") for t in draw(flow, batch))
    half = noise.to(torch.bfloat16)
    for name, weight in (("plain", 0.0), ("guided", 1.0)):
        other = lambda weight=weight: reference.sample(half, labels, weight)  # noqa: E731
        for kind, options in (
            ("sequential", {"compiled": True}),
            ("frontier", {"solver": "frontier", "window": tokens, "tol": 1e-2}),
        ):
            ours = lambda weight=weight, options=options: sample(  # noqa: E731
                flow, batch, labels, noise=noise, guidance=weight, **options
            )
            error = difference(ours().float(), other().float())
            seconds = paired(ours, other, repeats, synchronize=torch.cuda.synchronize)
            emit(Record(f"gpu-{kind}-{name}-{tokens}", *seconds, "seconds", error, sizes(flow, batch)))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All records of this room."""
    repeats = 2 if quick else 7
    flow, images, labels = trained(LONG, quick)
    sequential(emit, flow, repeats)
    training(emit, flow, images, labels, repeats)
    for batch in (8, 1):
        automatic(emit, flow, images, labels, batch, repeats)
        solvers(emit, flow, batch, 0.0, repeats)
    if not quick:
        solvers(emit, flow, 1, 1.0, repeats)
    short, _, _ = trained(SHORT, quick)
    exact_calls(emit, short)
    latent(emit, trained(LATENT, quick)[0], max(1, repeats // 2))
    if torch.cuda.is_available():
        gpu(emit, repeats)


if __name__ == "__main__":
    sys.exit(main("flows", benchmarks, ("tenfold", "torch", "numpy")))
