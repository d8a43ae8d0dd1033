"""Authentication: which principal a request acts for."""
