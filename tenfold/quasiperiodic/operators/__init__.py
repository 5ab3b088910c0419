"""Long-range quasi-periodic operators on Z^d: hopping, potentials, phases, finite boxes and their products."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
