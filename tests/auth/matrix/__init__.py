"""Every entry to the endpoint, and every kind of wrong credentials, as one table."""
