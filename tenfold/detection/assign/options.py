"""How priors are assigned. Imports no PyTorch."""

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings


def _choose(settings: object, **known: tuple[str, ...]) -> None:
    for name, choices in known.items():
        if getattr(settings, name) not in choices:
            raise UsageError(f"{name} is {getattr(settings, name)!r}{suggest(getattr(settings, name), choices)}")


@settings
class DcflOptions:
    """Dynamic coarse-to-fine assignment (arXiv 2304.08876), and every part of it left out or changed.

    Attributes:
        candidates: K, the most similar priors of an object (coarse).
        kept: Q, the best of them by the predictions (posterior).
        threshold: g of the constraint; 0.8 on AI-TOD-R, 0.6 on DOTA and DIOR-R, 1 in region proposals.
        metric: gjsd, or iou.
        constraint: dgmm (the mixture about the object and about its candidates), gaussian (about the object alone),
            circle (about the object, 1.5 half diagonals), or none.
        posterior: whether candidates are ranked by the predictions.
        prior: dynamic (moved by the offsets) or static, for ranking and the constraint.
        decode_from: static, or dynamic as the first release did, for the boxes that the predictions mean.
        min_positives: an object left with fewer keeps so many of its best by the constraint; 0 is as published.
        background_below: priors whose greatest similarity is lower are background; ignored from there on.
    """

    candidates: int = 16
    kept: int = 12
    threshold: float = 0.8
    metric: str = "gjsd"
    constraint: str = "dgmm"
    posterior: bool = True
    prior: str = "dynamic"
    decode_from: str = "static"
    min_positives: int = 1
    background_below: float = 0.8

    def __post_init__(self) -> None:
        _choose(
            self,
            metric=("gjsd", "iou"),
            constraint=("dgmm", "gaussian", "circle", "none"),
            prior=("dynamic", "static"),
            decode_from=("static", "dynamic"),
        )
        at_least(self, "", candidates=1, kept=1, threshold=0, min_positives=0, background_below=0)
        if self.kept > self.candidates:
            raise UsageError(f"kept is {self.kept}, of {self.candidates} candidates; give at most as many")


@settings
class MaxIouOptions:
    """By the highest IoU (Faster R-CNN, RetinaNet).

    Attributes:
        positive: IoU from which a prior learns its object.
        negative: IoU below which it is background; ignored between the two.
        match_best: whether the best priors of an object learn it however little they overlap.
        upright: IoU with the upright boxes around objects, as where regions are proposed.
    """

    positive: float = 0.5
    negative: float = 0.4
    match_best: bool = True
    upright: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.negative <= self.positive <= 1:
            raise UsageError(
                f"negative is {self.negative:g} and positive {self.positive:g}; both are IoU, negative not above"
            )


@settings
class AtssOptions:
    """By a threshold of each object's own (ATSS, arXiv 1912.02424).

    Attributes:
        nearest: priors of each level whose centres are nearest.
    """

    nearest: int = 9

    def __post_init__(self) -> None:
        at_least(self, "", nearest=1)


@settings
class TaskAlignedOptions:
    """By score^α IoU^β of the predictions (TAL, arXiv 2108.07755).

    Attributes:
        candidates: the best priors of an object.
        score_power: α.
        iou_power: β.
    """

    candidates: int = 13
    score_power: float = 1.0
    iou_power: float = 6.0

    def __post_init__(self) -> None:
        at_least(self, "", candidates=1, score_power=0, iou_power=0)


@settings
class GaussianRankingOptions:
    """By the rank of similarity of priors as Gaussians (in the manner of RFLA, arXiv 2208.08738).

    Attributes:
        first: priors of an object.
        second: further ones after the priors' sides are multiplied by ``decay``.
        decay: of the second round.
    """

    first: int = 3
    second: int = 1
    decay: float = 0.9

    def __post_init__(self) -> None:
        at_least(self, "", first=1, second=0)
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay is {self.decay:g}; give a share in (0, 1]")


@settings
class WassersteinRankingOptions:
    """By the rank of the normalised Wasserstein distance (NWD-RKA, arXiv 2206.13996).

    Attributes:
        best: priors of an object.
        constant: C of exp(−W / C), pixels: about the mean size of the objects; 12.7 on AI-TOD.
        background_below: as of DCFL.
    """

    best: int = 3
    constant: float = 12.7
    background_below: float = 0.8

    def __post_init__(self) -> None:
        at_least(self, "", best=1, background_below=0)
        if not self.constant > 0:
            raise UsageError(f"constant is {self.constant:g}; give pixels above 0")


@settings
class PointOptions:
    """By points in the middle of objects (FCOS, arXiv 1904.01355).

    Attributes:
        radius: strides around an object's centre, along either axis of the picture.
        reach: farthest edge of a level's objects, in its strides; those of the level before are half as far.
        scale: strides of a prior's side, so that strides are known.
    """

    radius: float = 1.5
    reach: float = 8.0
    scale: float = 4.0

    def __post_init__(self) -> None:
        for name in ("radius", "reach", "scale"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name):g}; give a positive number of strides")


AssignerOptions = (
    DcflOptions
    | MaxIouOptions
    | AtssOptions
    | TaskAlignedOptions
    | GaussianRankingOptions
    | WassersteinRankingOptions
    | PointOptions
)
