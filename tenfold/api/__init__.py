"""The verbs as Python functions: train, resume, evaluate, sample, analyse, score, report, load, convert.

Everything heavy is imported inside the functions, so that importing this package stays quick.
"""

import lazy_loader

from tenfold.api.openers import tell_rooms

tell_rooms()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
