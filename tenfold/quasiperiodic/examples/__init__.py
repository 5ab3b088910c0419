"""Worked examples: each gives measurements, and draws its figures into a folder."""
