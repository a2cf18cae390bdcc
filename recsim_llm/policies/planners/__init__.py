"""LLM planners, one module each: they propose titles turn by turn, which are grounded in the catalogue."""
