"""Oriented tiny objects, AI-TOD-R and DCFL (arXiv 2412.11582): geometry of rotated boxes, and evaluation.

``geometry`` and ``evaluation`` serve those who keep their own detector. Names are imported on first use, so that the
package itself imports no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
