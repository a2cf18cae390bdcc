"""RecAgent (Wang et al., TOIS 2025): the agent kind and its texts."""
