"""Users played by a language model: the code that all kinds share."""
