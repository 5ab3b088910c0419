"""How a model decodes: the order in which masks are revealed, where it is sure, and how holes are filled."""
