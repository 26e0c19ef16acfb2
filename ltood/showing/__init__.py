"""Errors of a detector with their pictures, and the training pictures that are nearest to them."""
