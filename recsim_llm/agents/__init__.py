"""Simulated users: personas, and user models that turn a page into probabilities."""
