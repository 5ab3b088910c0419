"""Masked diffusion language models: a decoder without its causal mask that fills in masked tokens (DiffuCoder,
arXiv 2506.20639).

>>> from tenfold.masked_lm import MaskedLM, MaskedLMConfig, create_completion
>>> model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64))
>>> len(create_completion(model, "def f(x):", max_tokens=4, n=2)["choices"])
2
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
