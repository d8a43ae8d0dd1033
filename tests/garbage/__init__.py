"""A store that holds what no release has written, under each key in turn: it costs that record, and nothing else."""
