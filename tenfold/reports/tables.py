"""Measurements as tables, on the terminal and in HTML: one block a metric, baselines beside the model."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from tenfold.reports.measures import HIGHER, LOWER, better_of, measure_of
from tenfold.runs.measurement import Measurement

if TYPE_CHECKING:
    from rich.table import Table

_ACRONYMS = {
    "fid": "FID",
    "kid": "KID",
    "mse": "MSE",
    "psnr": "PSNR",
    "nll": "NLL",
    "ood": "OOD",
    "auroc": "AUROC",
}
_ACRONYMS |= {"ar": "AR", "dim": "dimension", "std": "s.d.", "bpd": "bits/dim", "map": "mAP", "ess": "ESS", "kl": "KL"}
_ACRONYMS |= {"elbo": "ELBO", "z": "Z"}


@dataclass(frozen=True)
class Group:
    """All rows of one metric in one unit."""

    name: str
    unit: str
    rows: tuple[Measurement, ...]

    @property
    def title(self) -> str:
        """The metric as a heading."""
        return title_of(self.name)


def title_of(name: str) -> str:
    """A metric's name for people.

    >>> title_of("bits_per_dim"), title_of("fid"), title_of("mse_denoised")
    ('Bits per dimension', 'FID', 'MSE denoised')
    """
    words = [_ACRONYMS.get(word, word) for word in name.replace("/", " ").replace("_", " ").split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def format_value(value: float, standard_error: float | None = None) -> str:
    """A number with the digits that its standard error (two of its digits are kept) supports, else four.

    >>> format_value(2.13456, 0.00123), format_value(0.98123), format_value(61234.0), format_value(3e-7)
    ('2.1346 ± 0.0012', '0.9812', '61,234', '3e-07')
    """
    if not math.isfinite(value):
        return str(value)
    if standard_error and math.isfinite(standard_error) and standard_error > 0:
        digits = max(0, 1 - math.floor(math.log10(standard_error)))
        if digits <= 8:
            return f"{value:,.{digits}f} ± {standard_error:,.{digits}f}"
        return f"{value:.4g} ± {standard_error:.2g}"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    size = math.floor(math.log10(abs(value)))
    return f"{value:.4g}" if size < -3 or size > 9 else f"{value:,.{max(0, 3 - max(size, -1))}f}"


def group_rows(rows: Iterable[Measurement]) -> list[Group]:
    """Rows by metric and unit, in order of first appearance; within a group the best value first,
    where one way is better."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for row in rows:
        found.setdefault((row.name, row.unit), []).append(row)
    groups = []
    for (name, unit), members in found.items():
        sign = {HIGHER: -1.0, LOWER: 1.0}.get(better_of(name))
        if sign is not None:  # else none is better, and the order of the file stays
            members.sort(key=partial(_rank, sign))
        groups.append(Group(name, unit, tuple(members)))
    return groups


def _rank(sign: float, row: Measurement) -> float:
    return sign * row.value if math.isfinite(row.value) else math.inf


def metric_table(rows: Sequence[Measurement], own: Collection[str] = (), title: str = "") -> "Table":
    """A rich table of all rows; the models in ``own`` are bold, the others are what they are compared with."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column in ("measure", "model", "split"):
        table.add_column(column)
    table.add_column("value", justify="right", no_wrap=True)
    for column in ("unit", "draws", "note"):
        table.add_column(column, style="dim")
    for group in group_rows(rows):
        for i, row in enumerate(group.rows):
            style = "bold" if row.model in own else ""
            table.add_row(
                group.title if i == 0 else "",
                Text(row.model, style),
                row.split,
                Text(format_value(row.value, row.standard_error), style),
                row.unit,
                "" if row.draws is None else str(row.draws),
                row.note,
                end_section=i == len(group.rows) - 1,
            )
    return table


def metric_html(rows: Sequence[Measurement], own: Collection[str] = ()) -> str:
    """The same as HTML: a table with bars for every metric that has several rows, one table for the rest."""
    groups = group_rows(rows)
    compared = [group for group in groups if len(group.rows) > 1]
    single = [group.rows[0] for group in groups if len(group.rows) == 1]
    parts = [_compared(group, own) for group in compared]
    if single:
        parts.append(_single(single))
    return f'<div class="metrics">{"".join(parts)}</div>' if parts else ""


def _value_html(row: Measurement) -> str:
    value, _, error = format_value(row.value, row.standard_error).partition(" ± ")
    return escape(value) + (f' <span class="dim">± {escape(error)}</span>' if error else "")


def _details(row: Measurement) -> str:
    parts = [row.note] if row.note else []
    parts += [f"{row.draws} draw{'s' * (row.draws != 1)}"] if row.draws is not None else []
    return escape(", ".join(parts))


def _sentence(name: str) -> str:
    known, better = measure_of(name), better_of(name)
    parts = [known.sentence] if known else []
    parts += [f"{better.capitalize()} is better."] if better else []
    return f'<p class="better">{escape(" ".join(parts))}</p>' if parts else ""


def _compared(group: Group, own: Collection[str]) -> str:
    values = [abs(row.value) for row in group.rows if math.isfinite(row.value)]
    largest = max(values, default=0.0)
    body = []
    for row in group.rows:
        share = 100 * abs(row.value) / largest if largest and math.isfinite(row.value) else 0
        mark = ' class="own"' if row.model in own else ""
        details = _details(row)
        body.append(
            f'<tr{mark}><th scope="row">{escape(row.model or "-")}'
            f'<span class="tag">{escape(row.split)}</span>'
            + (f'<span class="note">{details}</span>' if details else "")
            + f'</th><td class="num">{_value_html(row)}</td>'
            f'<td class="bar" aria-hidden="true"><i style="width:{share:.1f}%"></i></td></tr>'
        )
    unit = f' <span class="unit">{escape(group.unit)}</span>' if group.unit else ""
    return (
        f'<div class="card"><h3>{escape(group.title)}{unit}</h3>{_sentence(group.name)}'
        f'<div class="scroll"><table>{"".join(body)}</table></div></div>'
    )


def _single(rows: Sequence[Measurement]) -> str:
    body = []
    for row in rows:
        unit = f'<span class="unit">{escape(row.unit)}</span>'
        about = " · ".join(escape(part) for part in (row.model, row.split) if part)
        details = _details(row)
        body.append(
            f'<tr><th scope="row">{escape(title_of(row.name))}{_sentence(row.name)}<span class="note">{about}</span>'
            + (f'<span class="note">{details}</span>' if details else "")
            + f'</th><td class="num">{_value_html(row)} {unit}</td></tr>'
        )
    table = f'<div class="scroll"><table>{"".join(body)}</table></div>'
    return f'<div class="card"><h3>More measurements</h3>{table}</div>'
