"""What a package brings to recsim-llm: one policy, one user model, one agent kind (docs/plugins.md)."""
