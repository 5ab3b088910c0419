"""Tuning towards a reward by groups of completions, drawn from the model as it is then."""
