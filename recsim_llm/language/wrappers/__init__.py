"""Wrappers of a language model: cache, budget, prefix statistics."""
