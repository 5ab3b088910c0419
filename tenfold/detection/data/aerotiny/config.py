"""What is rendered. Imports no PyTorch."""

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

SMALLEST = 64


@settings
class AeroTinyConfig:
    """A split of rendered pictures.

    Attributes:
        size: side of the square pictures, pixels.
        pictures: how many there are.
        split: "train" or "test", say; pictures of different splits differ.
        objects: mean number on 800 × 800 pixels; a picture's own follows a log-normal law, scaled by its area.
        mix: vehicles (80 % of the objects, as in AI-TOD-R) or balanced.
        backgrounds: folder of pictures that take the place of the rendered ground; "" for none.
        distractors: things that look like objects and are none, for each object.
        seed: of everything.
    """

    size: int = 256
    pictures: int = 400
    split: str = "train"
    objects: float = 27.0
    mix: str = "vehicles"
    backgrounds: str = ""
    distractors: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", size=SMALLEST, pictures=1, objects=0, distractors=0)
        if self.mix not in ("vehicles", "balanced"):
            raise UsageError(f"mix is {self.mix!r}{suggest(self.mix, ['vehicles', 'balanced'])}")
        if not self.split or "/" in self.split:
            raise UsageError(f"split is {self.split!r}; give a name, train say")
