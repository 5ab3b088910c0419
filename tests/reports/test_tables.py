"""Numbers and tables for people."""

import io

import pytest
from rich.console import Console

from tenfold.reports.tables import format_value, group_rows, metric_html, metric_table, title_of
from tenfold.runs.measurement import Measurement

ROWS = [
    Measurement("bits_per_dim", 2.1321, "bits/dim", "test", "ours", 0.0021, 16),
    Measurement("bits_per_dim", 2.93, "bits/dim", "test", "gaussian", 0.002, 16),
    Measurement("bits_per_dim", 2.02, "bits/dim", "test", "spline", note="80 s"),
    Measurement("accuracy", 0.9, "share", "clean", "ours"),
    Measurement("accuracy", 0.95, "share", "noisy", "ours"),
    Measurement("inversion_error", 3e-6, "max |Δx|", "test", "ours"),
]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.13456, 0.00123, "2.1346 ± 0.0012"),
        (2.13456, 0.0999, "2.135 ± 0.100"),
        (1234.5, 12.0, "1,234 ± 12"),
        (2.13456, None, "2.135"),
        (0.98123, None, "0.9812"),
        (0.012345, None, "0.0123"),
        (3e-6, None, "3e-06"),
        (61234.4, None, "61,234"),
        (16.0, None, "16"),
        (0.0, None, "0"),
        (float("nan"), 0.1, "nan"),
        (float("inf"), None, "inf"),
        (1.0, 0.0, "1"),
    ],
)
def test_format_value(value: float, error: float | None, text: str) -> None:
    assert format_value(value, error) == text


def test_groups_put_the_better_value_first() -> None:
    groups = group_rows(ROWS)
    assert [group.name for group in groups] == ["bits_per_dim", "accuracy", "inversion_error"]
    assert [row.value for row in groups[0].rows] == [2.02, 2.1321, 2.93]
    assert [row.value for row in groups[1].rows] == [0.95, 0.9]


def test_titles() -> None:
    assert title_of("bits_per_dim") == "Bits per dimension"
    assert title_of("fid") == "FID"


def test_terminal_table_holds_every_row_once() -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(metric_table(ROWS, {"ours"}, "run"))
    text = out.getvalue()
    for part in ("2.1321 ± 0.0021", "spline", "80 s", "3e-06", "clean", "noisy", "16"):
        assert part in text
    assert text.count("Bits per dimension") == 1


def test_html_marks_own_rows_scales_bars_and_escapes() -> None:
    html = metric_html([*ROWS, Measurement("fid", 1.0, "", "<test>", "a&b")], {"ours"})
    assert html.count('class="own"') == 3
    assert "width:100.0%" in html
    assert f"width:{100 * 2.1321 / 2.93:.1f}%" in html
    assert "&lt;test&gt;" in html
    assert "a&amp;b" in html
    assert "<test>" not in html
    assert metric_html([]) == ""
    metric_html([Measurement("x", float("nan"), model="a"), Measurement("x", 0.0, model="b")])
