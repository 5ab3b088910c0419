"""Right-to-left factorization and multiple choice (arXiv:2502.18435): items, the rules that choose an option, packing,
and arithmetic with its exact entropies. Models that read in an order, and their verbs, are not built yet."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
