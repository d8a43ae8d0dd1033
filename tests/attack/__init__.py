"""Hostile clients against real servers: what they are answered, and what it costs everybody else."""
