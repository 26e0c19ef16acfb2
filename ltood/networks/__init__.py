"""The base of backbones, their weights and their checkpoints."""
