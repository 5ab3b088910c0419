"""Jump processes conditioned on a graph: one network for the problems of all graphs of a kind (arXiv 2505.17741)."""
