"""Making a head from text and stored features, without an image and without a backbone step."""
