"""The floor of normalizing flows: blocks, their chain, solvers, guidance, density."""
