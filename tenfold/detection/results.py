"""What is measured for the guide, and how."""

from tenfold.runs.jobs import Comparison, Job, Training

_ASSIGNERS = ("max-iou", "atss", "gaussians", "dcfl")
_METRICS = ("AP", "AP50", "APvt", "APt", "without_positive", "without_positive_very_tiny")

_PARADIGMS = {
    "RetinaNet": ("aerotiny-max-iou", ()),
    "RetinaNet with DCFL": ("aerotiny", ()),
    "FCOS": ("aerotiny-fcos", ()),
    "FCOS with DCFL": ("aerotiny-fcos", ("--model.head", "dcfl-fcos", "--objective.assigner", "dcfl")),
    "Oriented R-CNN": ("aerotiny-oriented-rcnn", ()),
    "Oriented R-CNN with DCFL": (
        "aerotiny-oriented-rcnn",
        ("--model.head", "dcfl-oriented-rcnn", "--objective.assigner", "dcfl", "--objective.dcfl.threshold", "1"),
    ),
    "S2A-Net": ("aerotiny-s2a", ()),
    "S2A-Net with DCFL": ("aerotiny-s2a", ("--model.head", "dcfl-s2a", "--objective.assigner", "dcfl")),
}

_LABELS = {
    "all labels": ("aerotiny", ()),
    "a tenth of the labels": ("aerotiny", ("--data.aerotiny.pictures", "100")),
    "upright boxes": ("aerotiny-upright", ()),
    "upright boxes, without symmetry": ("aerotiny-upright", ("--objective.symmetry", "0")),
    "upright boxes as if oriented": ("aerotiny", ("--data.upright", "true")),
}

JOBS: dict[str, Job] = {
    "aerotiny": Training("aerotiny"),
    "aerotiny-assigners": Comparison(
        {
            "max-iou, thresholds alone": Training("aerotiny-max-iou", ("--objective.max_iou.match_best", "false")),
            **{name: Training("aerotiny-max-iou", ("--objective.assigner", name)) for name in _ASSIGNERS},
        },
        _METRICS,
        models=dict.fromkeys(("max-iou, thresholds alone", *_ASSIGNERS), "aerotiny-max-iou"),
        differences=True,
        curve="./confidence_very_tiny",  # the learning bias: how sure the positives of the smallest objects become
    ),
    "aerotiny-parts": Comparison(
        {
            "as published": Training("aerotiny", ("--objective.dcfl.min_positives", "0")),
            "one positive at least": Training("aerotiny"),
            "overlap": Training("aerotiny", ("--objective.dcfl.metric", "iou")),
            "no constraint": Training("aerotiny", ("--objective.dcfl.constraint", "none")),
            "no posterior": Training("aerotiny", ("--objective.dcfl.posterior", "false")),
            "static priors": Training("aerotiny", ("--objective.dcfl.prior", "static")),
        },
        _METRICS,
        models=dict.fromkeys(
            ("as published", "one positive at least", "overlap", "no constraint", "no posterior", "static priors"),
            "aerotiny",
        ),
    ),
    "aerotiny-labels": Comparison(
        {name: Training(recipe, options) for name, (recipe, options) in _LABELS.items()},
        (*_METRICS, "AP75"),
        models={name: recipe for name, (recipe, _) in _LABELS.items()},
    ),
    "aerotiny-paradigms": Comparison(
        {name: Training(recipe, options) for name, (recipe, options) in _PARADIGMS.items()},
        (*_METRICS, "AP75"),
        models={name: recipe for name, (recipe, _) in _PARADIGMS.items()},
    ),
}
