"""TarFlowLM: language modelling with continuous flows (arXiv:2507.00425). Its bijections are here, the model is not.

Names are imported on first use. The guide is docs/mixture-flows.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
