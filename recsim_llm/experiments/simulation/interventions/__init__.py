"""Interventions by date: their file, carrying them out, and what they did."""
