"""What an analysis or a worked example found."""

from dataclasses import dataclass, field
from typing import Any

from tenfold.runs.measurement import Measurement


@dataclass(frozen=True)
class Outcome:
    """What an example found: rows of ``evaluation.json``, figures with their captions in reading order, the settings
    it ran with, and certificates or tables to keep as ``data.json``."""

    rows: list[Measurement]
    captions: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
