"""What operators see: the fields from which REST, OpenAPI, `mcp_sessions` and the admin are made."""
