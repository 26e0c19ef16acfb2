"""Search a method's settings on validation rows, never on test rows."""
