"""How faithful simulated users are: measured against held-out behaviour of the same people."""
