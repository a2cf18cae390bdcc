"""Personas: traits and tastes from ratings or from a file."""
