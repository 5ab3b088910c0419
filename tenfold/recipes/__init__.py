"""Named, ready-to-run configurations: torch-free dataclasses of system + data + training."""

from tenfold.recipes.registry import RECIPES, SYSTEMS, System, recipe

__all__ = ["RECIPES", "SYSTEMS", "System", "recipe"]
