"""The process around the endpoint: signals, listening sockets, the garbage collector."""
