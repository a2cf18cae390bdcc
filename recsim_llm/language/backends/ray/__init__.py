"""Copies of a backend on a Ray cluster."""
