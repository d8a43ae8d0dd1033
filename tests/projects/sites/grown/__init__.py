"""A project that has grown for years."""
