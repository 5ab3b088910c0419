"""Coupled-GRPO (arXiv 2506.20639, section 4): what a masked model learns from rewards of its own completions."""
