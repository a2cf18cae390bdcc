"""The cheapest agent kind: one growing text per visit."""
