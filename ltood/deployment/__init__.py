"""A fitted detector as two files: written once, applied to features and images anywhere."""
