"""STARFlow: images of a class or a caption, by a deep-shallow autoregressive flow in the latent space of an autoencoder
(arXiv 2506.06276)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
