"""Worked examples of energies whose every density is known."""
