"""The table of personal access tokens."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import mcp_transport.contrib.tokens.models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="PersonalToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(blank=True, help_text="A free-form label.", max_length=100, verbose_name="name"),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True, verbose_name="digest")),
                (
                    "hint",
                    models.CharField(
                        editable=False,
                        help_text="The first characters of the token.",
                        max_length=16,
                        verbose_name="hint",
                    ),
                ),
                (
                    "scopes",
                    models.TextField(
                        blank=True,
                        help_text="Space-separated scopes. A token without scopes has no access to tools that require one.",
                        validators=[mcp_transport.contrib.tokens.models.validate_scopes],
                        verbose_name="scopes",
                    ),
                ),
                (
                    "created",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="created"),
                ),
                (
                    "expires",
                    models.DateTimeField(
                        blank=True,
                        help_text="Leave empty if the token does not expire.",
                        null=True,
                        validators=[mcp_transport.contrib.tokens.models.validate_future],
                        verbose_name="expires",
                    ),
                ),
                (
                    "last_used",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="To the minute.",
                        null=True,
                        verbose_name="last used",
                    ),
                ),
                ("revoked", models.DateTimeField(blank=True, editable=False, null=True, verbose_name="revoked")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mcp_tokens",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "personal token",
                "verbose_name_plural": "personal tokens",
                "ordering": ("-created", "-pk"),
                "permissions": (("issue_for_others", "Can issue tokens for other users"),),
            },
        ),
    ]
