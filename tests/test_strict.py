"""What is no number passes no border: JSON, weights, schedules, draws, settings."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn

import tenfold
from tenfold import hub
from tenfold.api.catalogue import recipe
from tenfold.discrete import (
    Cosine,
    Geometric,
    Linear,
    LinearSigma,
    Polynomial,
    categorical,
    gumbel_argmax,
    likelihood_weight,
    noise_share,
)
from tenfold.errors import UsageError
from tenfold.files import json_text, read_json
from tenfold.hub.checkpoints import read_safetensors, write_safetensors
from tenfold.masked_lm.config import SpecialIds
from tenfold.masked_lm.recipes import MaskedLMPipeline
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_strict(tmp_path: Path) -> None:
    value = {"a": [1.5, math.nan, (math.inf, "NaN")], "b": {"c": -math.inf, "d": True}}
    assert strict(json_text(value)) == {"a": [1.5, None, [None, "NaN"]], "b": {"c": None, "d": True}}
    run = RunFolder(tmp_path)
    run.write_evaluation([Measurement("x", math.nan, standard_error=math.nan), Measurement("y", 1.0)])
    strict(run.evaluation.read_text())
    first, second = run.read_evaluation()
    assert math.isnan(first.value)
    assert first.standard_error is None
    assert second == Measurement("y", 1.0)
    run.append_metrics({"step": 1, "kind": "train", "loss": math.inf})
    strict(run.metrics.read_text())


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_no_json_file_ends_in_an_unexpected_exception(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match="is not valid JSON"):
        read_json(file)


def test_broken_records_cost_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path)
    run.metrics.write_text('{"step": 1, "kind": "train"}\n[1]\n{"step": 2, "kind": "train"}\n{"step": "x"}\n{"st')
    from tenfold import progress

    with progress.shown():
        assert [record["step"] for record in run.read_metrics()] == [1, 2]
    assert "3 lines are no records, the first is line 2" in capsys.readouterr().err
    run.provenance.write_text("[[[")
    run.write_provenance(command="x")
    assert run.read_provenance() == {"command": "x"}
    run.evaluation.write_text('{"metrics": [{"nome": 1}]}')
    with pytest.raises(tenfold.errors.TenfoldError, match="redo it with 'tenfold evaluate'"):
        run.read_evaluation()


def test_a_long_run_is_read_thinly(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    lines = [json.dumps({"step": i, "kind": "train"}) for i in range(1000)]
    lines += [json.dumps({"step": i, "kind": "validation"}) for i in range(0, 1000, 100)]
    run.metrics.write_text("\n".join(lines) + "\n")
    found = run.read_metrics(most=64)
    training = [record["step"] for record in found if record["kind"] == "train"]
    assert training == list(range(0, 1000, training[1]))
    assert 32 <= len(training) <= 64
    assert sum(record["kind"] == "validation" for record in found) == 10
    assert len(run.read_metrics()) == 1010
    run.truncate_metrics(10)
    assert [record["step"] for record in run.metric_records()] == [*range(11), 0]


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_no_numbers(value: float, dtype: torch.dtype) -> None:
    weights = {"fine": torch.ones(3, dtype=dtype), "broken": torch.ones(4, 4, dtype=dtype)}
    hub.check_finite(weights, "x")
    weights["broken"][2, 3] = value
    with pytest.raises(UsageError, match="broken of x holds NaN or infinity"):
        hub.check_finite(weights, "x")
    # The sum of many large numbers overflows, the numbers themselves are fine.
    hub.check_finite({"large": torch.full((2**10,), torch.finfo(dtype).max, dtype=dtype)}, "x")


def test_tensors_are_written_one_by_one(tmp_path: Path) -> None:
    kinds = [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
    ]
    tensors = {str(kind): torch.arange(12).reshape(3, 4).to(kind) for kind in kinds}
    tensors |= {"turned": torch.randn(4, 5).T, "none": torch.zeros(0, 3), "one": torch.tensor(2.0)}
    tensors["tied"] = tensors["turned"]
    write_safetensors(tmp_path / "x.safetensors", tensors, {"format": "pt"})
    found = read_safetensors(tmp_path / "x.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with pytest.raises(UsageError, match="which safetensors files do not hold"):
        write_safetensors(tmp_path / "y.safetensors", {"z": torch.zeros(2, dtype=torch.complex64)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


# --- draws and schedules ----------------------------------------------------------------------------------------------

BAD = [[math.nan, 1.0], [0.0, 0.0], [-1.0, 2.0], [math.inf, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("weights", BAD)
def test_draws_refuse_what_is_no_distribution(weights: list[float], dtype: torch.dtype) -> None:
    rows = torch.tensor([[1.0, 1.0], weights], dtype=dtype)
    with pytest.raises(UsageError, match="weights of a draw are NaN or infinite"):
        categorical(rows, torch.tensor([0.5, 0.5]))
    if not weights[0] < 0:
        with pytest.raises(UsageError, match="logits of a draw are NaN"):
            gumbel_argmax(rows.log(), torch.rand(2, 2))


def test_draws_of_nothing() -> None:
    assert categorical(torch.zeros(0, 3), torch.zeros(0)).shape == (0,)
    assert gumbel_argmax(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


SCHEDULES = [
    Linear(),
    Linear(1e-3),
    Cosine(),
    Cosine(power=2),
    Cosine(1e-3),
    Polynomial(),
    Polynomial(0.5),
    Geometric(),
    LinearSigma(),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_schedules_are_probabilities_and_weights_are_finite(schedule: Any, dtype: torch.dtype) -> None:
    t = torch.cat(
        [torch.logspace(-12, 0, 400, dtype=torch.float64), torch.linspace(0, 1, 300, dtype=torch.float64)[1:]]
    )
    t = t[t < 1] if schedule == Polynomial(0.5) else t  # its slope is infinite at t = 1
    alpha = schedule.alpha(t.to(dtype))
    assert bool(((alpha >= 0) & (alpha <= 1)).all())
    assert bool((schedule.alpha_prime(t.to(dtype)) <= 0).all())
    share = noise_share(schedule, t.to(dtype))
    assert bool(((share >= 0) & (share <= 1)).all())
    weight = likelihood_weight(schedule, t.to(dtype))
    assert bool((weight >= 0).all())
    exact = likelihood_weight(schedule, t)
    torch.testing.assert_close(weight.double(), exact, rtol=2e-4 if dtype == torch.float32 else 1e-12, atol=1e-6)


def test_times_without_noise_have_no_weight() -> None:
    for schedule in (Linear(), Cosine(), Polynomial()):
        with pytest.raises(UsageError, match=r"times of noise lie in \(0, 1\]"):
            likelihood_weight(schedule, torch.tensor([0.5, 0.0]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(1.0),
        lambda: Linear(math.nan),
        lambda: Cosine(-0.1),
        lambda: Cosine(power=0),
        lambda: Polynomial(0.0),
        lambda: Geometric(0.0),
        lambda: LinearSigma(3.0, 2.0),
        lambda: Linear("half"),
    ],
)
def test_schedules_that_are_none(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


# --- settings ---------------------------------------------------------------------------------------------------------


def all_settings() -> Iterator[type]:
    """Every settings dataclass of the package."""
    seen = set()
    for module in walk_packages(tenfold.__path__, "tenfold."):
        if module.name.rpartition(".")[2] in ("config", "options", "recipes", "autoencoder_config"):
            for kind in vars(import_module(module.name)).values():
                if (
                    isinstance(kind, type)
                    and is_dataclass(kind)
                    and kind.__module__ == module.name
                    and kind not in seen
                ):
                    seen.add(kind)
                    yield kind


KINDS = sorted(all_settings(), key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")


# Those whose defaults alone are no settings.
MADE = {SpecialIds: lambda: SpecialIds(mask=5), MaskedLMPipeline: lambda: recipe("code-bytes-from-ar")}


def test_there_are_settings() -> None:
    assert len(KINDS) > 60


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_settings_are_checked_in_python_as_elsewhere(kind: Any) -> None:
    """A wrong choice, a wrong type and NaN are refused by every field; numbers of other libraries are taken."""
    whole = MADE[kind]() if kind in MADE else kind()
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint, value = hints[field.name], getattr(whole, field.name)
        wrong: list[Any] = []
        if get_origin(hint) is Literal:
            first = str(get_args(hint)[0])
            wrong = [first.swapcase() if first.swapcase() != first else f"{first}?", 17]
        elif hint is bool:
            wrong = ["maybe", 2, None]
        elif hint is int:
            wrong = [1.5, "many", None, True, math.nan, math.inf]
        elif hint is float:
            wrong = ["much", None, True, math.nan, math.inf]
        elif hint is str:
            wrong = [1.5, None]
        for bad in wrong:
            with pytest.raises(UsageError):
                replace(whole, **{field.name: bad})
        if hint is int and not isinstance(value, bool):
            taken = getattr(replace(whole, **{field.name: torch.tensor(value)}), field.name)
            assert type(taken) is int
            assert taken == value


def test_a_model_with_broken_weights_is_refused_by_every_reader(tmp_path: Path) -> None:
    from tenfold.discrete_diffusion import DiffusionConfig, DiscreteDiffusion

    model = DiscreteDiffusion(DiffusionConfig(vocabulary=4, width=16, layers=1, heads=2, length=4))
    with torch.no_grad():
        nn.init.constant_(next(model.parameters()), math.nan)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match="holds NaN or infinity"):
        DiscreteDiffusion.from_pretrained(tmp_path / "model")


def test_json_goes_through_one_function() -> None:
    """Text for a file or a user is made by ``files.json_text``; what is only hashed, or holds no float, may not be."""
    allowed = {
        "files.py",
        "data/tensor_file.py",  # headers of whole numbers
        "hub/checkpoints.py",
        "data/text/code.py",  # hashed
        "data/text/reading.py",
        "figures/style.py",  # text alone
        "masked_lm/completion/batch_files.py",  # hashed, or quoted from a line
        "quasiperiodic/commands/arrays.py",  # allow_nan=False
        "training/checkpoints/checkpoint.py",
        "training/parallel.py",  # between processes
    }
    root = Path(tenfold.__file__).parent
    found = {str(file.relative_to(root)) for file in root.rglob("*.py") if "json.dumps(" in file.read_text()}
    assert found == allowed
