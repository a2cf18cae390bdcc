"""The fidelity certificate on screen, on a page, and as plots."""
