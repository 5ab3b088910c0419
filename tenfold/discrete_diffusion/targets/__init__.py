"""Targets: what a student's site conditionals are matched to, besides data."""
