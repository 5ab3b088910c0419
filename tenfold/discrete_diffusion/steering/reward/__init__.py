"""Tuning towards a reward within a budget of divergence."""
