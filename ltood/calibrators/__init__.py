"""Feature calibrations: features in, features out."""
