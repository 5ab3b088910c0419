"""What is measured for the guide of factorization order, and how."""

from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training, Worked

# The same body on the King James text in every order, beside models that count.
_KJV = {
    "left to right": Training("kjv-l2r"),
    "right to left": Training("kjv-r2l"),
    "any order": Training("kjv-any-order"),
    "masks": Training("kjv-uniform-mask"),
}
_BACKWARD = ("--model.order", "r2l_document")
_EQUATIONS = {
    "m * n = p, left to right": Training("arithmetic-2"),
    "m * n = p, right to left": Training("arithmetic-2", _BACKWARD),
    "p = m * n, left to right": Training("arithmetic-2-reverse"),
    "p = m * n, right to left": Training("arithmetic-2-reverse", _BACKWARD),
}
# One seed: each takes hours.
_CONTINUED = {
    "backward": Training("smollm2-r2l", seeds=(0,)),
    "forward": Training("smollm2-l2r", seeds=(0,)),
}
_ENTROPIES = (
    "equation_cross_entropy",
    "equation_model_entropy",
    "operands_cross_entropy",
    "operands_model_entropy",
    "choice_accuracy",
)

JOBS: dict[str, Job] = {
    "kjv-orders": Comparison(
        _KJV,
        ("bits_per_char", "bits_per_char_l2r", "bits_per_char_r2l", "bits_per_char_averaged", "order_spread"),
        models={name: training.recipe for name, training in _KJV.items()},
        baselines=("unigram", "back-off"),
        differences=True,
        compute="seconds",
    ),
    "arithmetic-orders": Comparison(
        _EQUATIONS,
        _ENTROPIES,
        models={name: training.recipe for name, training in _EQUATIONS.items()},
        baselines=("exact",),
    ),
    "smollm2-orders": Comparison(
        _CONTINUED,
        ("bits_per_token",),
        models={name: training.recipe for name, training in _CONTINUED.items()},
        compute="step",
        unit="token",
    ),
    **{
        f"smollm2-{name}-choices": Analysis(f"smollm2-orders-{name}-0", (), ("rules.png",), "smollm2-orders")
        for name in _CONTINUED
    },
    "smollm2-choices": Worked("analyse", "smollm2-choices", "rules.png"),
    "benchmark-ordering": Benchmark("ordering"),
}
