"""The project's own user."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    """A user with a telephone."""

    telephone = models.CharField(max_length=40, blank=True)
