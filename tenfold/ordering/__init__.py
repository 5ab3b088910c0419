"""Right-to-left factorization and multiple choice (arXiv:2502.18435). Not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
