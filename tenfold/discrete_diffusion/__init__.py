"""Discrete diffusion by target concrete score matching (TCSM, arXiv 2504.16431): networks that undo masks and uniform
noise in text, their objectives and bounds, samplers, and ways to steer them towards rewards, preferences and teachers.

Names are imported on first use, so that the package itself imports no PyTorch. The guides are
docs/discrete-diffusion.md and docs/discrete-diffusion-steering.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
