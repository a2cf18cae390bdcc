"""Training policies in an environment, and logging sessions for offline learning."""
