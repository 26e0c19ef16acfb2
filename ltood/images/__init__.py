"""Images in memory and in files, and the selections of rows that are made of them."""
