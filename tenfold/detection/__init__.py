"""Oriented tiny objects, AI-TOD-R and DCFL (arXiv 2412.11582): rotated boxes, labels, evaluation, assignment.

``geometry``, ``data``, ``evaluation`` and ``assign`` each serve those who keep their own detector. Names are imported
on first use, so that the package itself imports no PyTorch. The guide is docs/detection.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
