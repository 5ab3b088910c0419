"""Learning from rewards and preferences, for whatever model gives log-probabilities: groups of completions with signed
weights, pairs, samples tilted within a budget of divergence, and references that stay.

Everything is a function of tensors; networks and samplers stay in the rooms. The guide is
docs/discrete-diffusion-steering.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
