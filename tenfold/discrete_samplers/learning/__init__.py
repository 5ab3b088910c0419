"""Discrete energies learned from data: maximum likelihood whose negative phase is chains, weighted or not."""
