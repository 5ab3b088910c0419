"""Systems of identical particles: energies, long chains as ground truth, distances between samples."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
