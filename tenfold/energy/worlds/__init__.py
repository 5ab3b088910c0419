"""What energies are learned from: images on [−1, 1], and samples of densities that are known."""
