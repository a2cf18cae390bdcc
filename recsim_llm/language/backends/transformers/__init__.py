"""A local model with Hugging Face transformers."""
