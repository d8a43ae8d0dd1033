"""A small shop over real models."""
