"""RL policies trained from logged sessions or imagined users."""
