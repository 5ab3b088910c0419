"""Discrete diffusion by target concrete score matching (TCSM, arXiv 2504.16431)."""
