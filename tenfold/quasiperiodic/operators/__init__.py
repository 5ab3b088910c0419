"""Long-range quasi-periodic operators on Z^d: hopping, potentials, phases, finite boxes and their products."""
