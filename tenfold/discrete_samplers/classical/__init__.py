"""Classical samplers: local moves, cluster moves, tempering, annealing, optimisation."""
