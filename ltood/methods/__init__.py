"""Post-hoc OOD scores, one method per file."""

from ltood.methods._published import published_settings

__all__ = ["published_settings"]
