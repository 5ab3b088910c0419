"""Samplers that reveal one site after another, with exact probabilities: masked, in any order (arXiv 2508.10684), and
autoregressive, in a fixed one (arXiv 1809.10606).
"""
