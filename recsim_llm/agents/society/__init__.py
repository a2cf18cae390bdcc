"""Users who persist between visits: plans, talk, search, and the social graph."""
