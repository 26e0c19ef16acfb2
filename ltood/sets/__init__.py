"""Facts about public image sets, their downloads, and synthetic sets."""
