"""From images to a feature store."""
