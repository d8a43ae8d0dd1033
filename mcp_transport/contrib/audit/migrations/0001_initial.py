"""Create the table of audit events."""

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
                ("when", models.DateTimeField(db_index=True, verbose_name="time")),
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
                ("user", models.CharField(blank=True, max_length=200, verbose_name="username")),
                (
                    "issuer",
                    models.CharField(
                        blank=True,
                        help_text='Issuer of the credentials; "django": this project.',
                        max_length=200,
                        verbose_name="issuer",
                    ),
                ),
                (
                    "subject",
                    models.CharField(
                        blank=True,
                        help_text="ID of the caller at the issuer; empty if anonymous.",
                        max_length=255,
                        verbose_name="subject",
                    ),
                ),
                ("address", models.CharField(blank=True, max_length=64, verbose_name="IP address")),
                (
                    "session",
                    models.CharField(
                        blank=True,
                        help_text="Short session ID, as in logs (not a credential).",
                        max_length=16,
                        verbose_name="session",
                    ),
                ),
                (
                    "client",
                    models.CharField(
                        blank=True,
                        help_text="The name that the client gives itself; unverified.",
                        max_length=200,
                        verbose_name="client",
                    ),
                ),
                (
                    "operation",
                    models.CharField(
                        blank=True,
                        help_text="MCP method, or HTTP method if it was not parsed.",
                        max_length=100,
                        verbose_name="operation",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True,
                        help_text="The requested tool, resource or prompt.",
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
                            ("client", "closed by the client"),
                            ("limit", "evicted: session limit reached"),
                            ("staff", "closed by an operator"),
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
                ("seconds", models.FloatField(blank=True, null=True, verbose_name="duration (s)")),
                ("arguments", models.JSONField(blank=True, null=True, verbose_name="arguments")),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-when", "-pk"),
            },
        ),
    ]
