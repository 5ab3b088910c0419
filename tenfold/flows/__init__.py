"""The floor of normalizing flows, which knows no system: blocks and their chain, solvers, guidance, density."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
