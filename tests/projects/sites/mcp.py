"""Declares what all projects serve."""

from django.apps import apps

from tests.projects.sites.tools import declare

declare(database=apps.is_installed("django.contrib.auth"))
