"""Experiments: rollouts, recorded simulations, replays, metrics, and the command line."""
