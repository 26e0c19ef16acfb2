"""Images and a recipe to a checkpoint: plan, batches, loop and driver."""
