"""Sampling compositions by sequential Monte Carlo along falling noise: proposals, weights, moves and control, and what
is measured with them.

``ParticleSampler`` is the sampler; its options are objects, one for each concern.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
