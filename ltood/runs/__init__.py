"""Runs of a repository, and stored scores: listed, compared and shown on one page."""
