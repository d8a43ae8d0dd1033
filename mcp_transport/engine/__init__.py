"""The engine: processes requests on an event loop, independently of web frameworks."""
