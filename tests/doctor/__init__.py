"""The doctor on a correct path, and on paths with one fault each."""
