"""TarFlowLM: language modelling with continuous flows (arXiv:2507.00425): mixture bijectors, the model, its bounds and
samplers.

Names are imported on first use. The guides are docs/text-flows.md and, of the bijectors alone, docs/mixture-flows.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
