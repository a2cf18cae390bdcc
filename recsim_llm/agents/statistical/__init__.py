"""Users as arrays: how they are fitted to a log, when they leave, and when they return."""
