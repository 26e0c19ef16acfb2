"""The report: one HTML file that opens anywhere, offline, and holds its own data."""
