"""Example plug-in for recsim-llm: one policy, one user model, one agent kind (docs/plugins.md)."""
