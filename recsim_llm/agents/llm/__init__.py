"""Users that a language model plays: what all kinds share."""
