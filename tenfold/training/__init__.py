"""The training foundation: loop, checkpoints, parallelism and randomness. It knows no system."""
