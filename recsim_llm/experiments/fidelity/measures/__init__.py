"""Measures of the fidelity certificate, and the baselines beside them."""
