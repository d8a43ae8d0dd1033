"""A site whose tools misbehave."""
