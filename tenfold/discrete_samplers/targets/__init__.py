"""Unnormalised laws of discrete variables with fast ratios of neighbours: lattices, graphs, machines, any function."""
