"""The pictures of a trained image flow."""

from pathlib import Path

import torch

from tenfold import progress
from tenfold.data.images.bundled import ood_sets
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.figures.charts import heat_maps, histograms
from tenfold.figures.images import image_grid, ranked
from tenfold.figures.style import write_captions
from tenfold.flows.density import Denoising, denoise, token_nll
from tenfold.flows.evaluation import image_log_probs
from tenfold.flows.flow import Flow
from tenfold.flows.guidance import Guidance
from tenfold.flows.loss import to_unit_range
from tenfold.flows.sampling import draw_samples
from tenfold.tarflow.config import FlowEvaluation, FlowObjective
from tenfold.tarflow.evaluation import noised


def draw(
    flow: Flow, splits: ImageSplits, objective: FlowObjective, options: FlowEvaluation, directory: Path
) -> list[Path]:
    """All pictures that fit the model, as PNG files in ``directory``, with captions beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    captions = _samples(flow, objective, options, directory)
    if objective.noise == "uniform":
        captions |= _likelihood(flow, splits, objective, directory)
    else:
        captions |= _denoising(flow, splits, objective, directory)
    write_captions(directory, captions)
    return [directory / name for name in captions]


def _samples(flow: Flow, objective: FlowObjective, options: FlowEvaluation, directory: Path) -> dict[str, str]:
    """One grid a way of sampling, all from the same noise: a row a class where there are classes."""
    device, classes = flow.var.device, min(flow.config.classes, 10)
    columns = 10 if classes else 12
    count = columns * (classes or 5)
    labels = torch.arange(classes, device=device).repeat_interleave(columns) if classes else None
    noise = torch.randn(
        count, flow.config.tokens, flow.config.token_dim, generator=torch.Generator().manual_seed(0)
    ).to(device)
    gaussian = objective.noise == "gaussian"
    ways = [(weight, False) for weight in ((0.0, *options.guidance) if classes else (0.0,))]
    ways += [(weight, True) for weight, _ in ways if gaussian]
    captions = {}
    for weight, clean in progress.track(dict.fromkeys(ways), "pictures of samples", "pictures"):
        denoising = Denoising(objective.sigma) if clean else None
        images, _ = draw_samples(flow, count, labels, guidance=Guidance(weight), noise=noise, denoising=denoising)
        name = f"samples{f'-guidance-{weight:g}' if weight else ''}{'-denoised' if clean else ''}.png"
        image_grid(images.clamp(-1, 1).cpu(), directory / name, columns=columns)
        how = ", as drawn (with the training noise)" if gaussian else ""
        how = ", denoised by one step along the score" if clean else how
        captions[name] = (
            f"Samples{', one class a row' if classes else ''}, {f'guidance {weight:g}' if weight else 'no guidance'}"
            f"{how}; the same noise in every grid."
        )
    return captions


def _likelihood(flow: Flow, splits: ImageSplits, objective: FlowObjective, directory: Path) -> dict[str, str]:
    device = flow.var.device
    pixels = read_all(splits.test)[0]
    x = noised(pixels, objective, splits.levels).to(device)
    log_probs = image_log_probs(flow, x).cpu()
    order = log_probs.argsort()
    chosen = torch.cat([order[:6], order[-6:]])
    with torch.no_grad():
        maps = token_nll(flow, x[chosen.to(device)]).cpu()
    patch = flow.config.patch
    heat_maps(
        pixels[chosen],
        maps.view(-1, flow.config.shape[1] // patch, flow.config.shape[2] // patch),
        directory / "token-nll.png",
        titles=[f"{log_probs[i]:.0f} nats" for i in chosen],
        low=0,
        high=splits.levels - 1,
    )
    ranked(pixels, log_probs, directory / "outliers.png", low=0, high=splits.levels - 1)
    groups = {"test": log_probs.numpy()}
    for name, images in ood_sets(splits).items():
        groups[name] = image_log_probs(flow, noised(images, objective, splits.levels, 1).to(device)).cpu().numpy()
    histograms(groups, directory / "likelihood.png", "log p(x), nats")
    return {
        "token-nll.png": "Negative log-likelihood per token: the six least and the six most likely test images.",
        "outliers.png": "Test images ranked by log p(x) in nats: the ten least likely, and the ten most likely.",
        "likelihood.png": "Log-likelihood of test images against out-of-distribution images.",
    }


def _denoising(flow: Flow, splits: ImageSplits, objective: FlowObjective, directory: Path) -> dict[str, str]:
    pixels, classes = read_all(splits.test, 12)
    clean = to_unit_range(pixels, splits.levels)
    noisy = noised(pixels, objective, splits.levels).to(flow.var.device)
    labels = classes.to(noisy.device) if flow.config.classes else None
    cleaned = denoise(flow, noisy, objective.sigma, labels)
    rows = torch.cat([clean, noisy.cpu(), cleaned.cpu()]).clamp(-1, 1)
    titles = ["clean", f"noise {objective.sigma:g}", "denoised"]
    image_grid(rows, directory / "denoising.png", columns=len(clean), row_titles=titles)
    return {"denoising.png": "Test images, with Gaussian noise, and after one step along the flow's score."}
