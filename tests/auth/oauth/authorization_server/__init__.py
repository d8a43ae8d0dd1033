"""A Django project that issues tokens, by django-oauth-toolkit."""
