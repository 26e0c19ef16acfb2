"""From a dataset to the plain arrays that training and extraction read."""
