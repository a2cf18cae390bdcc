"""Policies that bound a table: the oracle above, one list for everybody beside."""
