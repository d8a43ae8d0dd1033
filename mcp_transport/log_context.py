"""Log records that say which call they belong to, also those of a project's own loggers."""

from __future__ import annotations

import logging

from mcp_transport.domain.current_call import current_call, label_fields, label_text

__all__ = ["CallFields", "CallSuffix"]

# `request` is the HTTP request in records of Django, and AdminEmailHandler reads it.
_ATTRIBUTES = {"session": "session", "request": "request_id", "user": "user", "tool": "tool"}


class CallFields(logging.Filter):
    """Sets `session`, `request_id`, `user` and `tool` of each record to those of the running call, or to ""."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set what is missing, and let every record pass."""
        label = current_call.get()
        fields = {} if label is None else label_fields(label)
        for name, attribute in _ATTRIBUTES.items():
            if not hasattr(record, attribute):
                setattr(record, attribute, fields.get(name, ""))
        return True


class CallSuffix(logging.Filter):
    """Ends the message of a record with the fields of the running call, and sets its attributes as `CallFields` does.

    The fields are an argument of the message, so that error trackers group records as before.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields, unless the record has them, and let every record pass."""
        label = current_call.get()
        if label is None or hasattr(record, "session") or isinstance(record.args, dict):
            return True
        fields = label_fields(label)
        for name, value in fields.items():
            if not hasattr(record, _ATTRIBUTES[name]):
                setattr(record, _ATTRIBUTES[name], value)
        if fields:
            args = record.args if isinstance(record.args, tuple) else ()
            message = str(record.msg) if args else str(record.msg).replace("%", "%%")
            record.session, record.msg, record.args = (
                fields.get("session", ""),
                f"{message} %s",
                (*args, label_text(fields)),
            )
        return True
