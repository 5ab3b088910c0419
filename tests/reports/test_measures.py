"""What a page says of measures, and which of them have cards."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tenfold.figures import image_grid, lines
from tenfold.reports import write_report
from tenfold.reports.measures import HEADLINES, HIGHER, LOWER, NEITHER, better_of, headlines, measure_of
from tenfold.reports.tables import group_rows, metric_html
from tenfold.runs.measurement import Measurement

ROWS = [
    Measurement("parameters", 1000, model="mine"),
    Measurement("inversion_error", 1e-6, model="mine"),
    Measurement("ood_auroc", 0.99, split="photographs", model="mine"),
    Measurement("ood_auroc", 0.88, split="upside-down", model="mine"),
    Measurement("bits_per_dim", 2.1, "bits/dim", "test", "mine", 0.01),
    Measurement("bits_per_dim", 2.0, "bits/dim", "train", "mine", 0.01),
    Measurement("bits_per_dim", 2.9, "bits/dim", "test", "gaussian"),
    Measurement("bits_per_dim", 2.4, "bits/dim", "test", "histogram"),
    Measurement("bits_per_dim", 1.1, "bits/dim", "train", "histogram"),
    Measurement("bits_per_dim", float("nan"), "bits/dim", "test", "broken"),
]


def test_cards_are_what_a_reader_asks_first() -> None:
    bits, auroc = headlines(ROWS, {"mine"})
    assert (bits.row.name, bits.row.split, bits.worst) == ("bits_per_dim", "test", False)
    assert bits.baseline is not None
    assert bits.baseline.model == "histogram"
    assert bits.baseline.value == 2.4
    assert (auroc.row.split, auroc.worst, auroc.baseline) == ("upside-down", True, None)


@pytest.mark.parametrize(("name", "values", "worst"), [("distance_%g", (0.2, 0.1), 0.2), ("auroc_%g", (0.9, 0.8), 0.8)])
def test_the_worst_of_a_family_stands_for_it(name: str, values: tuple[float, float], worst: float) -> None:
    rows = [Measurement(name % i, value, model="mine") for i, value in enumerate(values)]
    (found,) = headlines(rows, {"mine"})
    assert found.row.value == worst
    assert found.worst


def test_an_exact_value_is_no_winner_but_the_first_to_compare_with() -> None:
    rows = [
        Measurement("log_z", value, model=model) for model, value in (("mine", 2.0), ("exact", 2.5), ("other", 9.0))
    ]
    (found,) = headlines(rows, {"mine"})
    assert found.baseline is not None
    assert found.baseline.model == "exact"


def test_unknown_measures_have_cards_only_by_themselves_and_four_are_enough() -> None:
    unknown = [Measurement(f"thing{i}", float(i), model="mine") for i in range(6)]
    assert [found.row.name for found in headlines(unknown, {"mine"})] == ["thing0", "thing1", "thing2", "thing3"]
    assert {found.row.name for found in headlines([*unknown, *ROWS], {"mine"})} == {"bits_per_dim", "ood_auroc"}
    many = [Measurement(name, 0.5, model="mine") for name in reversed(HEADLINES)]
    assert [found.row.name for found in headlines(many, {"mine"})] == list(HEADLINES)[:4]
    assert headlines(ROWS, {"another"}) == []
    assert headlines([replace(ROWS[4], value=float("nan"))], {"mine"}) == []


def test_directions() -> None:
    known = {"mse_denoised": LOWER, "ess": HIGHER, "log_z": NEITHER, "denoising_mse_0.05": LOWER, "AP50": HIGHER}
    guessed = {"valid_accuracy": HIGHER, "score_error_0.2": LOWER, "global_ar_ness_4": NEITHER, "flops": NEITHER}
    assert {name: better_of(name) for name in known | guessed} == known | guessed
    assert measure_of("global_ar_ness_4") is None


def test_sentences_stand_under_measures_and_no_direction_is_made_up() -> None:
    page = metric_html(ROWS, {"mine"})
    assert "Bits that one dimension of a test image takes under the model&#x27;s density. Lower is better." in page
    assert "Numbers that training sets.</p>" in page
    assert "better" not in metric_html([Measurement("my_thing", 1.0), Measurement("my_thing", 2.0)])


def test_rows_without_a_better_way_keep_their_order() -> None:
    rows = [Measurement("energy", value, model=str(value)) for value in (3.0, 1.0, 2.0)]
    assert list(group_rows(rows)[0].rows) == rows


def run_of(folder, rows):
    (folder / "figures").mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps({"metrics": [row.to_dict() for row in rows]}))
    return folder


def test_a_page_says_what_its_errors_are_over(tmp_path) -> None:
    rows = [replace(row, model="run") if row.model == "mine" else row for row in ROWS[:-1]]
    page = write_report(run_of(tmp_path / "run", rows)).read_text()
    assert "± is one standard error over" in page
    assert "another seed" in page
    assert "Ood" not in page
    assert "OOD AUROC, the worst" in page
    assert "histogram: 2.400" in page
    bare = write_report(run_of(tmp_path / "bare", [replace(row, standard_error=None) for row in rows])).read_text()
    assert "± is" not in bare


def test_rows_that_name_no_model_have_cards(tmp_path) -> None:
    page = write_report(run_of(tmp_path / "run", [Measurement("ess", 0.5), Measurement("nll", 2.0)])).read_text()
    assert page.count('class="card stat"') == 1


def test_charts_follow_the_theme_and_pixels_of_data_do_not(tmp_path) -> None:
    run = run_of(tmp_path / "run", [])
    lines({"a": ([0, 1], [0, 1])}, run / "figures" / "chart.png", "steps", "nats")
    image_grid(np.zeros((4, 1, 8, 8)), run / "figures" / "images.png")
    Image.new("L", (8, 8)).save(run / "figures" / "photo.png")
    page = write_report(run).read_text()
    marks = [part.split('"')[1] == "ink" if part.startswith(' class="') else False for part in page.split("<img")[1:]]
    assert marks == [True, False, False]
    assert "prefers-color-scheme: dark) { figure img.ink" in page
