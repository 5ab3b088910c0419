"""Worked examples of discrete diffusion."""
