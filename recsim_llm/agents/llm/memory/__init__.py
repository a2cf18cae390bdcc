"""Memories of whole populations: one seam, three published designs, one shared text encoder. Knows no model."""
