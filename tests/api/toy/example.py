"""A worked example."""

from pathlib import Path

from tenfold.figures import bars
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome


def worked(figures: Path, quick: bool, progress) -> Outcome:
    """One bar."""
    bars(["toy"], [1.0], figures / "bar.png", "length")
    progress(1.0)
    return Outcome([Measurement("length", 1.0)], {"bar.png": "one bar"}, data={"quick": quick})
