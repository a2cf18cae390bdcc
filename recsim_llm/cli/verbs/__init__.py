"""The commands of `recsim-llm`, one module per command (docs/architecture.md, "Where do I put ...?")."""
