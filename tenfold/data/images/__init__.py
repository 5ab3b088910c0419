"""Images as integer pixels: sources, decoding, augmentation, and what a user hands to a model."""
