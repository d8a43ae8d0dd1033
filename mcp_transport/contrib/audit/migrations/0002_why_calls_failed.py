"""Add why calls have no result, and on which node."""

from __future__ import annotations

from django.db import migrations, models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    dependencies = [
        ("mcp_audit", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="code",
            field=models.IntegerField(
                blank=True, help_text="JSON-RPC code, if the client got one.", null=True, verbose_name="code"
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="error",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Class of the exception, or the limit that refused.",
                max_length=100,
                verbose_name="error",
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("tool_error", "The tool reported an error"),
                    ("exception", "The function raised an exception"),
                    ("invalid", "Invalid arguments"),
                    ("unknown", "Unknown, or not visible to the caller"),
                    ("refused", "Refused by a limit"),
                    ("timeout", "Timed out"),
                    ("too_large", "The result is too large"),
                    ("error", "JSON-RPC error"),
                    ("cancelled_by_client", "Cancelled by the client"),
                    ("cancelled_by_staff", "Cancelled by staff"),
                    ("session_ended", "The session ended"),
                    ("lost", "Its node stopped or was lost"),
                    ("given_up", "Two nodes were lost while running it"),
                ],
                db_default="",
                default="",
                help_text="Why the call has no result.",
                max_length=32,
                verbose_name="why",
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="message",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="What the client or the log was told.",
                max_length=1000,
                verbose_name="message",
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="node",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The node that ran or refused the call.",
                max_length=64,
                verbose_name="node",
            ),
        ),
        migrations.AddField(
            model_name="auditentry",
            name="request",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text='ID of the request as JSON: 7 and "7" are different.',
                max_length=260,
                verbose_name="request",
            ),
        ),
    ]
