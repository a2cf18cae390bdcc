"""Teaches a small language model what the people of a log do: `recsim-llm tune`."""
