"""Statistical users plus an LLM residual, and the calibration that decides where it is applied."""
