"""Rules: pure functions that derive one finding each from the observations."""
