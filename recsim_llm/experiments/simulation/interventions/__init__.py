"""Interventions by date: reading their file, applying them, and measuring their effect."""
