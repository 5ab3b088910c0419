"""Distilled energy diffusion with Feynman-Kac SMC (arXiv:2502.12786). Not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
