"""Oriented boxes: angles, corners, overlap, suppression, and distances between the Gaussians that they stand for.

A box is (cx, cy, w, h, t): pixels, the y axis down, t in radians and positive from +x towards +y.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
