"""The doctor on a good path, and on paths with one planted fault each."""
