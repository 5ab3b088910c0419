"""Targets whose answers are known: Gaussian mixtures with their noised densities, scores and products, powers by
quadrature, likelihoods with exact twists and evidence, and kernel densities of data.

They are densities as networks are (``tenfold.energy.density``), and composed by the same operators.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
