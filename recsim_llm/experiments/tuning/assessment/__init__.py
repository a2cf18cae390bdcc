"""What a tuned model knows beyond collaborative filtering and content."""
