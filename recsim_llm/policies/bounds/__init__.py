"""Reference policies for a results table: the oracle (upper bound), and one fixed list for all users."""
