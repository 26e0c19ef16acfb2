"""From a feature store to a score store."""
