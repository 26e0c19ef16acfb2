"""Networks that turn images into features, one family per file."""
