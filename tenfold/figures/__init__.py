"""Pictures for reports: curves, image grids, maps, histograms, bars. Pure functions of arrays, each writing one PNG.

Arrays may be NumPy or (CPU) PyTorch. matplotlib is imported when a picture is drawn.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
