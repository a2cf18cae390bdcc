"""Users who leave by the rule of the long-term setting."""
