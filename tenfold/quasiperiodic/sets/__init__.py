"""Semi-algebraic sets on the torus: polynomials, formulas, exact membership, covers and measures."""
