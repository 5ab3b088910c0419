"""A line through points: the smallest system, for the test that a system is one folder and one word."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
