"""Studies: many policies and several seeds on the same people, compared in one table."""
