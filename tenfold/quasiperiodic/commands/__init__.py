"""The verbs ``tenfold shifts``, ``tenfold discrepancy`` and ``tenfold dynamics``; they import NumPy when they work."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
