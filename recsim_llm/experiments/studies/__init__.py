"""Studies: many policies, several seeds, the same people; one table."""
