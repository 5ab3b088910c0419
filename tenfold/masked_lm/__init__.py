"""Masked diffusion language models: a decoder without its causal mask that fills in masked tokens (DiffuCoder,
arXiv 2506.20639)."""
