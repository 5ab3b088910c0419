"""Named, ready-to-run configurations: torch-free dataclasses of system + data + training."""

from tenfold.recipes.registry import COMPONENTS, RECIPES, SYSTEMS, System, name_of, plain, recipe

__all__ = ["COMPONENTS", "RECIPES", "SYSTEMS", "System", "name_of", "plain", "recipe"]
