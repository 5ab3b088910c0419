"""Blocks that several systems share: attention with a static key-value cache, the transformer layer, normalisation,
rotary positions, and the autoencoder of images. Lazy: configurations import ``tenfold.nn.config`` without PyTorch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
