"""Models of other people: denoisers in other conventions and formats, published energies."""
