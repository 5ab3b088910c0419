"""Pictures live in ``tenfold.figures``, below the systems that draw them."""

from tenfold.figures import PALETTE, bars, curves, heat_maps, histograms, image_grid, lines, ranked, to_rgb

__all__ = ["PALETTE", "bars", "curves", "heat_maps", "histograms", "image_grid", "lines", "ranked", "to_rgb"]
