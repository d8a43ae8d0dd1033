"""The fields that operators see; REST, OpenAPI, `mcp_sessions` and the admin are built from them."""
