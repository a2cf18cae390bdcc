"""The commands of `recsim-llm`, one module a command (docs/architecture.md, "Where do I put ...?")."""
