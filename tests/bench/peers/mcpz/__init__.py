"""A Django project with django-mcpz."""
