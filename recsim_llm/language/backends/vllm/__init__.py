"""vLLM's engine in this process, and its server."""
