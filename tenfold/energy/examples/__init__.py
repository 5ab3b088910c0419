"""Worked examples of energies."""
