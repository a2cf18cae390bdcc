"""Running, resuming, replaying and interviewing simulations."""
