"""Checkpoints of a run: written whole, read strictly, and what may change when one is resumed."""
