"""Which priors learn which objects: DCFL and the assigners that it is compared with, for any head with priors.

All take the objects of one picture and the priors of all levels, and say for each prior which object it learns.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
