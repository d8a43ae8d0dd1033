"""How much less work coalescing, batching and circuit breakers leave to a server."""
