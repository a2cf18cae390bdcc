"""Reading the answer to a page: labels in one call, or titles in generated text."""
