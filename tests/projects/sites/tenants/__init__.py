"""A project of several tenants, each with a schema and a subdomain of its own."""
