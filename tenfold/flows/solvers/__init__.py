"""The solvers of a block's fixed point, which plan serves which block, and gradients through the solution."""
