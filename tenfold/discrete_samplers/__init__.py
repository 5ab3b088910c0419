"""Samplers of unnormalised discrete laws: discrete neural flow samplers (DNFS, arXiv 2505.17741), and the classical
ones beside them with the same targets, results and accounts of cost.

Names are imported on first use, so that the package itself imports no PyTorch. The guide is docs/discrete-samplers.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
