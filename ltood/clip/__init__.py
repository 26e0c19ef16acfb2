"""CLIP's towers and prompts."""
