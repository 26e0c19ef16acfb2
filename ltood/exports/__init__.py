"""Rows of stores for other tools: Parquet and FiftyOne."""
