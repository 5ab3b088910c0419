"""TarFlow: the exact density of images, by a transformer autoregressive flow on their pixels (arXiv 2412.06329)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
