"""Commands that record runs and inspect them."""
