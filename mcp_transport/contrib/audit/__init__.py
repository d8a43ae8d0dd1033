"""An audit log in the database: `INSTALLED_APPS += ["mcp_transport.contrib.audit"]`."""
