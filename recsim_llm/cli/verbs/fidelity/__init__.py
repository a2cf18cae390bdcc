"""Commands that measure how faithful simulated users are."""
