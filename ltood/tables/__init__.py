"""Tables of papers as data: what to run, over which seeds, and what was published."""
