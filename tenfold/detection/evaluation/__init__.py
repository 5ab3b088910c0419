"""How good detections are: average precision by size (AI-TOD-R), of COCO and of DOTA, and where the rest is lost.

Everything takes ``Labels`` and ``Detections``, whoever made them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
