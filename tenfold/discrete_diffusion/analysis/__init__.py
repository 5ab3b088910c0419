"""What a model of discrete diffusion can do besides its likelihood: fill holes, and write samples that are judged."""
