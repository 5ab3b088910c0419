"""Networks of oriented detection: the modulated deformable convolution in plain PyTorch, and DCFL's head."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
