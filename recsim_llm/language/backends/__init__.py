"""Backends: where a language model runs."""
