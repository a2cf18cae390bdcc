"""LLM planners, one file each: they propose titles a turn at a time, and the catalogue decides what these mean."""
