"""Energies of diffusion models: distilled from denoisers, composed, and sampled exactly by sequential Monte Carlo
(arXiv 2502.12786).

Names are imported on first use, so that the package itself imports no PyTorch. The guide is docs/energy.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
