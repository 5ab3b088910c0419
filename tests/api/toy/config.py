"""Settings of the toy."""

from dataclasses import dataclass

from tenfold.settings.checks import at_least


@dataclass(frozen=True)
class LineConfig:
    """Geometry.

    Attributes:
        inputs: numbers that are read.
    """

    inputs: int = 2

    def __post_init__(self) -> None:
        at_least(self, "model", inputs=1)


@dataclass(frozen=True)
class PointData:
    """Points.

    Attributes:
        count: of training points.
    """

    count: int = 64


@dataclass(frozen=True)
class LineEvaluation:
    """Measuring.

    Attributes:
        points: test points.
    """

    points: int = 16


@dataclass(frozen=True)
class LineSampling:
    """Options of sample.

    Attributes:
        num: how many.
        shout: with a mark.
    """

    num: int = 3
    shout: bool = False


@dataclass(frozen=True)
class LineScoring:
    """Options of score.

    Attributes:
        draws: of noise.
    """

    draws: int = 1


@dataclass(frozen=True)
class LineAnalysis:
    """Options of analyse.

    Attributes:
        depth: how far down.
    """

    depth: int = 1


@dataclass(frozen=True)
class Greeting:
    """Options of greet.

    Attributes:
        word: what is said.
    """

    word: str = "hello"
