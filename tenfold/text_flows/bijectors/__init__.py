"""Maps of mixtures of Gaussians to the standard normal distribution, each way, safe in both tails."""
