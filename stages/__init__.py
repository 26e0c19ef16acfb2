"""Small click commands, one per pipeline stage; `dvc.yaml` calls them."""
