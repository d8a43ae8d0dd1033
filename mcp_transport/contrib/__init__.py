"""Parts that a project opts into, as Django apps of their own."""
