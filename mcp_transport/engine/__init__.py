"""What happens to a request: orchestration on an event loop, without any web framework."""
