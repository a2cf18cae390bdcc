"""The page of LLM calls."""
