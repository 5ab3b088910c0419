"""Ticks of logarithmic axes as people write numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_FEW, _DECADES = 8, 4


def plain_ticks(axis: Any, values: Sequence[float] = ()) -> None:
    """Label a logarithmic axis with plain numbers: at ``values`` where they are few, 16, 32, 64 say, otherwise where
    matplotlib puts ticks; over more than four decades powers of ten stay what they are."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    places = np.unique(np.asarray(values, dtype=np.float64))
    places = places[places > 0]
    if 1 < len(places) <= _FEW and float((places[1:] / places[:-1]).min()) > 1.3:
        axis.set_major_locator(FixedLocator(places.tolist()))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda x, pos: f"{x:g}"))
        return
    low, high = axis.get_view_interval()
    if high <= low * 10.0**_DECADES:
        axis.set_major_formatter(_plain())
        axis.set_minor_formatter(_plain())


def _plain() -> Any:
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return Plain(labelOnlyBase=False, minor_thresholds=(1.5, 0.4))
