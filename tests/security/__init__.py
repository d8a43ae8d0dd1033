"""What `make security` runs besides linters and Django's own checks."""
