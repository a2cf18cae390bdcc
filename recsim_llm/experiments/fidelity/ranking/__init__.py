"""Ranking validity: whether a simulator orders recommenders as held-out data does."""
