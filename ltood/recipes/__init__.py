"""Training recipes, one published training each."""
