"""Memories of whole populations: one protocol, three published designs, one shared text encoder."""
