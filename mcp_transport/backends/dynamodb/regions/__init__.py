"""Sessions in a global table: each has a home region, which another one replaces when it is lost (ADR 45)."""
