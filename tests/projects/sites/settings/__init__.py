"""One settings module for each project."""
