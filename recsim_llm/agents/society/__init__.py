"""Users who live on between visits: plans, talk, search, and who knows whom."""
