"""Metrics that several systems share: distances between sets of images, and the features that they are taken in."""
