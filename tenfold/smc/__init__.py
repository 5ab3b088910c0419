"""Sequential Monte Carlo without a model: log weights, resampling, ancestry, evidence, tempering.

Everything is batched over populations that know nothing of each other: the last axis of log weights is that of the
particles. Random numbers are given, decisions are masks, so that nothing waits for the device.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
