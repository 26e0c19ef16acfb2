"""Feature and score stores on Zarr v3."""
