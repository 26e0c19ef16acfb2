"""Process-level support: console, devices, ranks, files and digests."""
