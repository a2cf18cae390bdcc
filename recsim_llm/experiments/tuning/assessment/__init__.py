"""Assessment of a tuned model: what it adds to collaborative filtering and content."""
