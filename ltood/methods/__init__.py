"""Post-hoc OOD scores, one method per file."""
