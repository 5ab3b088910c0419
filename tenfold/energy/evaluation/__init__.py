"""What denoisers and energies are measured by, and their pictures."""
