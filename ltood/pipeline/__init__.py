"""One file per stage of the pipeline; each runs in the folder that holds its `params.yaml`."""
