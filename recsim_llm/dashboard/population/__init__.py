"""The page of a population."""
