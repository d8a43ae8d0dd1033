"""From a request to the principal it acts for."""
