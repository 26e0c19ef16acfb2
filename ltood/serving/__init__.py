"""A deployed detector as an HTTP service: bodies in, verdicts out, within fixed limits."""
