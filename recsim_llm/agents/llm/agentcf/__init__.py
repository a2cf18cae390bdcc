"""AgentCF (Zhang et al., WWW 2024): the agent kind, its learning, memories and ranking."""
