"""Shift (Kronecker) sequences: evenly spread numbers in [0, 1)^d with random access. Imports no PyTorch."""

from tenfold.shifts.kronecker import Kronecker, generalised_golden
from tenfold.shifts.sampler import ShiftSampler

__all__ = ["Kronecker", "ShiftSampler", "generalised_golden"]
