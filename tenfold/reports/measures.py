"""What the measures of all systems mean to a reader: a sentence each, which way is better, what comes first on a page.

Measures are found by their names, or by those of their families: "distance" for "distance_0.05" (a noise level),
"auroc" for "auroc_inverted" (a foreign data set).
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tenfold.runs.measurement import Measurement

HIGHER, LOWER, NEITHER = "higher", "lower", ""

MOST_CARDS = 4


@dataclass(frozen=True)
class Meaning:
    """A measure: the sentence under its name, which way is better ("" where a value is only told), and whether a card
    shows the worst of a run's own rows (of several noise levels or foreign data sets, say) instead of the first."""

    sentence: str
    better: str = LOWER
    worst: bool = False


# In the order in which a page has cards for them: what a system is for stands before what explains it.
HEADLINES: dict[str, Meaning] = {
    "mse_denoised": Meaning("Squared distance of denoised images from the clean ones, a pixel."),
    "bits_per_dim": Meaning("Bits that one dimension of a test image takes under the model's density."),
    "ood_auroc": Meaning(
        "How well likelihoods tell test data from foreign data: 1 always, 0.5 by chance.", HIGHER, True
    ),
    "auroc": Meaning("How well densities tell test data from foreign data: 1 always, 0.5 by chance.", HIGHER, True),
    "AP": Meaning("Average precision of detections, a mean over IoU thresholds and classes.", HIGHER),
    "AP50": Meaning("Average precision where a detection counts from an IoU of 0.5.", HIGHER),
    "APvt": Meaning("Average precision on very tiny objects.", HIGHER),
    "AR": Meaning("Recall of detections, a mean over IoU thresholds and classes.", HIGHER),
    "ess": Meaning("Share of samples that remains when the weights correct the rest.", HIGHER),
    "log_z": Meaning("Estimate of the logarithm of the partition function.", NEITHER),
    "ratio": Meaning("Objective of the solutions found, as a share of the reference's.", HIGHER),
    "choice_accuracy": Meaning("Share of multiple-choice questions whose answer is picked.", HIGHER),
    "accuracy": Meaning("Share that is right.", HIGHER),
    "mean_reward": Meaning("Mean reward of completions.", HIGHER),
    "bits_per_char": Meaning("Bits that one character of held-out text takes; a bound where the note says so."),
    "bits_per_byte": Meaning("Bits that one byte of held-out text takes; a bound where the note says so."),
    "bits_per_token": Meaning("Bits that one token of held-out text takes; a bound where the note says so."),
    "log_density_error": Meaning("Standard deviation of the energy's error against the true one."),
    "energy_w1": Meaning("Wasserstein distance of the energies of samples from those of long reference chains."),
    "effective_share": Meaning("Effective share of weighted particles.", HIGHER),
    "log_density_correlation": Meaning("Correlation of the learned log density with the true one.", HIGHER, True),
    "distance": Meaning("Squared distance from the teacher's denoiser, in its own scale.", LOWER, True),
    "fid": Meaning("Fréchet distance of samples from real images, in the features that the note names."),
    "class_accuracy": Meaning("Share of samples that a classifier finds in the class asked for.", HIGHER),
    "reconstruction_psnr": Meaning("Peak signal-to-noise ratio of reconstructed images.", HIGHER),
    "latent_nll": Meaning("Negative log-likelihood of a latent, a dimension."),
    "hole_accuracy": Meaning("Share of cut-out characters that are filled in as they were.", HIGHER),
    "bayes_accuracy": Meaning("Share of images classified right by the likelihoods of all classes.", HIGHER),
    "generative_perplexity": Meaning("Perplexity of samples under a second model that judges them."),
    "failed_checks": Meaning("Checks against theory that failed."),
}

_OTHERS: dict[str, Meaning] = {
    "bits_per_dim_importance": Meaning(
        "An upper bound of the bits a dimension, by importance-weighted dequantisation."
    ),
    "bits_per_dim_given_class": Meaning("Bits that one dimension takes when the class is given."),
    "mse_noisy": Meaning("Squared distance of noisy images from the clean ones: what denoising starts from."),
    "inversion_error": Meaning("Largest difference after mapping to the latent and back."),
    "inverse_digits_lost": Meaning("Decimal digits that rounding costs in the inverse."),
    "one_gradient_accuracy": Meaning("Share of images classified right by one gradient of the density.", HIGHER),
    "classifier_agreement": Meaning("Share of images on which both classifiers agree.", HIGHER),
    "denoising_mse": Meaning("Squared distance of denoised data from the clean, a dimension, at this noise level."),
    "kid": Meaning("Kernel distance of samples from real images, without bias; may be below zero."),
    "precision": Meaning("Share of samples that lie among real images.", HIGHER),
    "recall": Meaning("Share of real images that samples come close to.", HIGHER),
    "diversity": Meaning("Spread of samples.", HIGHER),
    "elbo": Meaning("Lower bound of log Z by unweighted samples.", HIGHER),
    "energy": Meaning("Mean energy of samples.", NEITHER),
    "nll": Meaning("Negative log-likelihood of held-out data."),
    "best_reward": Meaning("Mean over prompts of the best completion's reward.", HIGHER),
    "completion_tokens": Meaning("Length of completions.", NEITHER),
    "global_ar": Meaning("Share of steps that reveal one of the left-most masks.", NEITHER),
    "local_ar": Meaning("Share of steps that reveal the right neighbour of what was revealed before.", NEITHER),
    "calibration_error": Meaning("Distance of stated probabilities from frequencies."),
    "brier": Meaning("Squared distance of stated probabilities from what was right."),
    "sample_entropy": Meaning("Entropy of the symbols of samples; to be read beside that of held-out text.", NEITHER),
    "sampling_seconds": Meaning("Seconds to draw samples."),
    "parameters": Meaning("Numbers that training sets.", NEITHER),
}

_MEASURES = HEADLINES | _OTHERS

_HIGHER = (
    "log_prob",
    "accuracy",
    "precision",
    "recall",
    "auroc",
    "psnr",
    "agreement",
    "diversity",
    "reward",
    "correlation",
)
_LOWER = (
    "error",
    "mse",
    "rmse",
    "nll",
    "loss",
    "bits",
    "perplexity",
    "distance",
    "kl",
    "seconds",
    "fid",
    "kid",
    "curl",
)


def measure_of(name: str) -> Meaning | None:
    """What is known of a measure; None for one that is not known.

    >>> measure_of("distance_0.05") is measure_of("distance"), measure_of("of_mine")
    (True, None)
    """
    return _MEASURES.get(_family(name))


def better_of(name: str) -> str:
    """Which way a measure is better: "higher", "lower", or "" where neither is known to be.

    >>> better_of("ood_auroc"), better_of("my_error"), better_of("global_ar_ness_1"), better_of("parameters")
    ('higher', 'lower', '', '')
    """
    known = measure_of(name)
    if known:
        return known.better
    words = f"_{name.replace('-', '_').replace('/', '_')}_"
    for better, marks in ((HIGHER, _HIGHER), (LOWER, _LOWER)):
        if any(f"_{mark}_" in words for mark in marks):
            return better
    return NEITHER


@dataclass(frozen=True)
class Headline:
    """What a card shows: a row of the run's own, whether it is the worst of several, and the best other model's."""

    row: Measurement
    worst: bool
    baseline: Measurement | None


def headlines(rows: Sequence[Measurement], own: Collection[str]) -> list[Headline]:
    """The cards of a run, at most four: its own rows of the measures above, in their order.

    A row is the first of its measure in the file: the best of several splits would be a choice made after seeing them.
    Where several data sets or noise levels count alike, it is the worst. A run of other measures alone shows its first
    ones."""
    mine: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.model in own and row.value == row.value:
            mine.setdefault(_family(row.name), []).append(row)
    found = [name for name in HEADLINES if name in mine] or [n for n in mine if n != "parameters"]
    return [_headline(mine[name], rows, own) for name in found[:MOST_CARDS]]


def _headline(mine: Sequence[Measurement], rows: Iterable[Measurement], own: Collection[str]) -> Headline:
    first = mine[0]
    known = measure_of(first.name)
    several = known is not None and known.worst and len(mine) > 1
    row = _extreme(mine, best=False) if several else first
    others = [
        r
        for r in rows
        if r.model not in own and (r.name, r.unit, r.split) == (row.name, row.unit, row.split) and r.value == r.value
    ]
    # Where no way is better (an exact value beside an estimate) the first other row stands for comparison.
    chosen = (_extreme(others, best=True) if better_of(row.name) else others[0]) if others else None
    return Headline(row, several, chosen)


def _extreme(rows: Sequence[Measurement], best: bool) -> Measurement:
    largest = (better_of(rows[0].name) == HIGHER) is best
    return max(rows, key=lambda row: row.value) if largest else min(rows, key=lambda row: row.value)


def _family(name: str) -> str:
    if name in _MEASURES:
        return name
    return "auroc" if name.startswith("auroc_") else re.sub(r"_[0-9][0-9.e+-]*$", "", name)
