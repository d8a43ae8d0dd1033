"""The benchmark: this package beside its peers, in one run, every answer checked."""
