"""Durations of actions, in simulated hours. Declared, because rating logs hold no durations."""

WATCH_HOURS = 2.0
"""Watching an item (RecAgent's published constant)."""
PAGE_HOURS = 0.05
"""Looking at a page: three minutes."""
TALK_HOURS = 0.25
"""Writing a post or having a chat."""
ROUND_HOURS = 5.0
"""A round of a society (RecAgent's published setting)."""
