"""Fine-tuning of a small language model on the behaviour of people in a log: `recsim-llm tune`."""
