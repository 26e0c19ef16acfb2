"""Stores and detectors sent to an address by name, and fetched from it again."""
