"""Image datasets, one file each; the file name is the name in `params.yaml`."""
