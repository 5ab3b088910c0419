"""What a model is trained or guided towards: densities, teachers and rewards, as ratios of clean sequences."""
