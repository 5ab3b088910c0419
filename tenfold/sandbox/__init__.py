"""Running programs that nobody trusts: jails of Linux namespaces (bubblewrap) with limits, and verdicts of tests that
no program can forge.

Usable alone: it imports nothing of the systems and no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
