"""An optional app with one read-only tool, with which `manage.py mcp_doctor` measures events and requests."""
