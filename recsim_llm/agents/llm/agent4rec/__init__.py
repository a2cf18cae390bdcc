"""Agent4Rec (Zhang et al., SIGIR 2024): the agent kind and its texts."""
