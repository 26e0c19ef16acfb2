"""From scores to metrics, tables and curves."""
