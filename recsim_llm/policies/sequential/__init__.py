"""Sequential recommenders and their networks."""
