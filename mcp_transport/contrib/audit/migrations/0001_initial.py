"""The table of what happened."""

from __future__ import annotations

from django.db import migrations, models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("when", models.DateTimeField(db_index=True, verbose_name="when")),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("session_opened", "session opened"),
                            ("session_closed", "session closed"),
                            ("tool_called", "tool called"),
                            ("access_denied", "access denied"),
                        ],
                        max_length=16,
                        verbose_name="event",
                    ),
                ),
                ("user", models.CharField(blank=True, max_length=200, verbose_name="user name")),
                (
                    "issuer",
                    models.CharField(
                        blank=True,
                        help_text='Who vouches for the caller; "django": this project.',
                        max_length=200,
                        verbose_name="issuer",
                    ),
                ),
                (
                    "subject",
                    models.CharField(
                        blank=True,
                        help_text="What the issuer calls the caller; empty for nobody.",
                        max_length=255,
                        verbose_name="subject",
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=64, verbose_name="address")),
                (
                    "session",
                    models.CharField(
                        blank=True,
                        help_text="Its short id, as in logs; it opens nothing.",
                        max_length=16,
                        verbose_name="session",
                    ),
                ),
                (
                    "client",
                    models.CharField(
                        blank=True,
                        help_text="What the client calls itself; nobody has proved it.",
                        max_length=200,
                        verbose_name="client",
                    ),
                ),
                (
                    "operation",
                    models.CharField(
                        blank=True,
                        help_text="The method of MCP or, if it was not read, of HTTP.",
                        max_length=100,
                        verbose_name="operation",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True,
                        help_text="The tool, resource or prompt that was asked for.",
                        max_length=200,
                        verbose_name="name",
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ok", "ok"),
                            ("error", "error"),
                            ("cancelled", "cancelled"),
                            ("client", "ended by the client"),
                            ("limit", "made room for another session"),
                            ("staff", "ended by an operator"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        blank=True, help_text="Why access was denied.", max_length=500, verbose_name="reason"
                    ),
                ),
                ("seconds", models.FloatField(blank=True, null=True, verbose_name="seconds")),
                ("arguments", models.JSONField(blank=True, null=True, verbose_name="arguments")),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-when", "-pk"),
            },
        ),
    ]
