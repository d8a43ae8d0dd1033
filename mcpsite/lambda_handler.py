"""AWS Lambda entry point: the endpoint with buffered responses, made once for each sandbox."""

from mcp_transport.adapters.aws_lambda import lambda_handler

handler = lambda_handler("mcpsite.settings")
