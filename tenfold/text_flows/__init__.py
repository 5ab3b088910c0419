"""TarFlowLM: language modelling with continuous flows (arXiv:2507.00425). Not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
