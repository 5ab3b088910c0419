"""Tuning on pairs of which one is preferred."""
