"""A project that OpenTelemetry traces by a middleware of its own, which is not asynchronous."""
