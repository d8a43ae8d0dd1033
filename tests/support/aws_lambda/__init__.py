"""AWS Lambda for tests: events as the front doors make them, sandboxes, and a front that speaks HTTP."""
