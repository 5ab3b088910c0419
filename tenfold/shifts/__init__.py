"""Shift (Kronecker) sequences: evenly spread numbers in [0, 1)^d with random access, exact at any n; Diophantine
tools; the sampler of diffusion times and noise. Imports no PyTorch."""

from tenfold.shifts.classes import (
    DiophantineEstimate,
    WdcCertificate,
    certify_wdc,
    estimate_dc,
    khintchine_transfer,
)
from tenfold.shifts.compiled import use_compiled_points
from tenfold.shifts.diophantine import (
    ContinuedFraction,
    Records,
    best_dual,
    best_simultaneous,
    continued_fraction,
    relation,
)
from tenfold.shifts.frequency import Frequency, Number
from tenfold.shifts.kronecker import Kronecker, generalised_golden
from tenfold.shifts.sampler import ShiftSampler
from tenfold.shifts.scramble import Scrambled, nested_uniform
from tenfold.shifts.skew import LatticeShift, SkewShift
from tenfold.shifts.stream import Stream

__all__ = [
    "ContinuedFraction",
    "DiophantineEstimate",
    "Frequency",
    "Kronecker",
    "LatticeShift",
    "Number",
    "Records",
    "Scrambled",
    "ShiftSampler",
    "SkewShift",
    "Stream",
    "WdcCertificate",
    "best_dual",
    "best_simultaneous",
    "certify_wdc",
    "continued_fraction",
    "estimate_dc",
    "generalised_golden",
    "khintchine_transfer",
    "nested_uniform",
    "relation",
    "use_compiled_points",
]
