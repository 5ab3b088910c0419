"""AI-TOD-R and DCFL: oriented tiny objects (arXiv:2412.11582). Not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
