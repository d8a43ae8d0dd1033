"""A project of several tenants."""
