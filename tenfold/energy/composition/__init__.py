"""Targets made of energies: products, powers, guidance, mixtures, rewards and constraints, as Python operators or as a
line of text."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
