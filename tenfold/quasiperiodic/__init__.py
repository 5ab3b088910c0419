"""Semi-algebraic discrepancy of shift sequences (sets, hit counts, certificates), and long-range quasi-periodic
operators on Z^d with their quantum dynamics.

Names are imported on first use, so that the package itself imports no NumPy. The guides are docs/semialgebraic.md and
docs/quasiperiodic.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
