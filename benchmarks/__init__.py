"""Benchmarks of speed and size of every part, each beside a peer's way of doing the same work. No pass or fail."""
