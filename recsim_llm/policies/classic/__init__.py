"""Recommenders fitted to a log: one file per policy."""
