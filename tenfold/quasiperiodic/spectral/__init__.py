"""Spectra, Green's functions, Lyapunov exponents and good boxes."""
