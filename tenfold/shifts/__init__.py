"""Shift (Kronecker) sequences: evenly spread numbers in [0, 1)^d with random access, exact at any n; Diophantine
tools; the sampler of diffusion times and noise. Imports no PyTorch, and nothing before it is used.

The guide is docs/shifts.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
