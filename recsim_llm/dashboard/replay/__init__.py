"""The page that replays a session."""
