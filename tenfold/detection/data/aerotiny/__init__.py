"""AeroTiny: rendered pictures from above with tiny oriented objects of eight classes, whose boxes are exact.

A picture depends on (seed, split, number) alone, so that a data set is a few numbers and needs no disk.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
