"""What every process needs: console, devices, ranks, files and digests."""
