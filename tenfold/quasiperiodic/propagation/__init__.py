"""e^{-itH} in a box, by Chebyshev, Lanczos, splitting or diagonalisation, and bounds on what the box loses."""
