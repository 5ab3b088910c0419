"""A density ratio of the data against a masked model's own draws, and the sampler that it corrects."""
