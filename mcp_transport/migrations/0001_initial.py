"""Create the content type and the permissions of MCP sessions, which have no table."""

from __future__ import annotations

from django.db import migrations, models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "key",
                    models.CharField(
                        editable=False, max_length=26, primary_key=True, serialize=False, verbose_name="key"
                    ),
                ),
            ],
            options={
                "verbose_name": "MCP session",
                "verbose_name_plural": "MCP sessions",
                "permissions": (("view_mcp_payloads", "Can view MCP payloads"),),
                "managed": False,
                "default_permissions": ("view", "change", "delete"),
                "base_manager_name": "objects",
            },
        ),
    ]
