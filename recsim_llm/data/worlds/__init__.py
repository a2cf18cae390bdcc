"""Invented worlds: catalogues and people with known tastes."""
