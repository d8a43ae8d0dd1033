"""Create the permission to drain nodes."""

from __future__ import annotations

from django.db import migrations

__all__ = ["Migration"]


class Migration(migrations.Migration):
    dependencies = [("mcp_transport", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="session",
            options={
                "verbose_name": "MCP session",
                "verbose_name_plural": "MCP sessions",
                "permissions": (
                    ("view_mcp_payloads", "Can view MCP payloads"),
                    ("drain_mcp_nodes", "Can drain MCP nodes"),
                ),
                "managed": False,
                "default_permissions": ("view", "change", "delete"),
                "base_manager_name": "objects",
            },
        ),
    ]
