"""Several real processes: Redis, nodes, nginx, and a client that says which of them gets which request."""
