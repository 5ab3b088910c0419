"""Worked examples of mixture bijections."""
