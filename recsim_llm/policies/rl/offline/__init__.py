"""RL policies trained on logged sessions or with users simulated from the log."""
