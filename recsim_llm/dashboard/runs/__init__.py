"""The page that lists runs."""
