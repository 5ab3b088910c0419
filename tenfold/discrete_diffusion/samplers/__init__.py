"""Sampling: steps as transition tensors, and the chains that draw from them."""
