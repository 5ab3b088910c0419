"""DNFS: discrete neural flow samplers (arXiv:2505.17741). Not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
