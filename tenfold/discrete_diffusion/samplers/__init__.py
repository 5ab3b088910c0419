"""Sampling: steps as transition tensors, the chains that draw from them, and what corrects or guides a chain."""
