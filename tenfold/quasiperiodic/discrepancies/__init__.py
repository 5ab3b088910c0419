"""How far points are from evenly spread: discrepancies, exact or between bounds, worst slabs, fitted exponents."""
