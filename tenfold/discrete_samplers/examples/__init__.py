"""Worked examples of samplers of discrete laws: which one is best where, graphs, and published tables."""
