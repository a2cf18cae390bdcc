"""The command line `recsim-llm`."""
