"""Every packaged recipe, whole, on toys: a new recipe is covered by being there."""
