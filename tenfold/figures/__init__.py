"""Pictures for reports: curves, image grids, maps, histograms, bars. Pure functions of arrays, each writing one PNG.

Arrays may be NumPy or (CPU) PyTorch. matplotlib is imported when a picture is drawn.
"""

from tenfold.figures.charts import bars, heat_maps, histograms, matrix
from tenfold.figures.curves import curves, lines
from tenfold.figures.images import image_grid, ranked, to_rgb
from tenfold.figures.style import PALETTE, write_captions

__all__ = [
    "PALETTE",
    "bars",
    "curves",
    "heat_maps",
    "histograms",
    "image_grid",
    "lines",
    "matrix",
    "ranked",
    "to_rgb",
    "write_captions",
]
