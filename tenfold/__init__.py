"""tenfold: ten research systems in one PyTorch library and one command.

Importing the package imports no PyTorch: public names are resolved on first use, so that
``tenfold --help`` and ``tenfold.shifts`` stay quick.
"""

import lazy_loader

from tenfold.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
