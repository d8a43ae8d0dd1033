"""The site that browsers look at."""

POLICY = "default-src 'self'"
"""What it tells browsers: nothing but its own files, no script or style within a page."""
