"""The official client, a real authorization server and this package's resource server, each a process of its own."""
