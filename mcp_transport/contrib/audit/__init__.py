"""A record of who does what, in the database: `INSTALLED_APPS += ["mcp_transport.contrib.audit"]`."""
