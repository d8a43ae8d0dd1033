"""A server under more load than it can carry, with its limits and without them: `make bench-load`."""
