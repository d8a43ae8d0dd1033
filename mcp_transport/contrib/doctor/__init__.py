"""An optional app: one read-only tool by which `manage.py mcp_doctor` sees how events and requests travel."""
