"""Score normalisations: scores in, scores out."""
