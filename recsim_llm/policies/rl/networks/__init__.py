"""State trackers and networks of the RL policies."""
