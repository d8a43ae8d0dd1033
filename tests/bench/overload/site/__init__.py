"""The Django project under load: tools of a known capacity, and callers told apart by tokens."""
