"""Discrete noise, for whatever model undoes it: schedules, masks and draws; sources of noise and what they do to
predictions (``paths``); losses on site conditionals (``objectives``) and bounds on the likelihood (``bounds``).

Everything is a pure function of tensors; random numbers are given. The guide is docs/discrete-diffusion.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
