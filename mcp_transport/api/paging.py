"""Query parameters and signed cursors of lists; a cursor contains the offset that the backend needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.core.signing import BadSignature, Signer
from rest_framework import exceptions, serializers
from rest_framework.utils.urls import replace_query_param

from mcp_transport.backends.records import Page
from mcp_transport.domain.session_query import ORDERS, SessionQuery, State

__all__ = [
    "MAX_PAGE_SIZE",
    "MAX_TEXT",
    "ORDERINGS",
    "PAGE_SIZE",
    "ListQuery",
    "MessageCursor",
    "MessageQuery",
    "SessionCursor",
]

PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000
MAX_TEXT: Final = 512
ORDERINGS: Final = tuple(sign + name for name in ORDERS for sign in ("-", ""))

_SESSIONS_SALT: Final = "mcp_transport.api.cursor"
_MESSAGES_SALT: Final = "mcp_transport.api.messages"

# All of them require an offset.
_TIME_FORMATS: Final = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M%z"]


def _text() -> Any:
    return serializers.CharField(
        required=False, allow_blank=True, default="", max_length=MAX_TEXT, trim_whitespace=False
    )


def _choice(default: str, choices: tuple[str, ...]) -> Any:
    messages = {"invalid_choice": f'"{{input}}" is not one of: {", ".join(choices)}.'}
    return serializers.ChoiceField(choices, required=False, default=default, error_messages=messages)


def _time() -> Any:
    message = 'Expected a time with its offset: 2026-01-31T12:00:00Z. In a URL, write the "+" of an offset as "%2B".'
    return serializers.DateTimeField(
        required=False,
        default=None,
        input_formats=_TIME_FORMATS,
        default_timezone=UTC,
        error_messages={"invalid": message},
    )


class ListQuery(serializers.Serializer):
    """Validates the query parameters of the list of sessions."""

    search = _text()
    user = _text()
    client = _text()
    protocol = _text()
    node = _text()
    state = _choice("", tuple(State))
    created_after = _time()
    created_before = _time()
    ordering = _choice("-last_seen", ORDERINGS)
    page_size = serializers.IntegerField(required=False, default=PAGE_SIZE, min_value=1, max_value=MAX_PAGE_SIZE)


class MessageQuery(serializers.Serializer):
    """Validates the query parameters of a session and of the list of messages."""

    payloads = serializers.BooleanField(required=False, default=False)


class SessionCursor:
    """The filters, the order and the offset of a request in the list of sessions."""

    def __init__(self, request: Any) -> None:
        """Read the query parameters of a request. Raises: ValidationError, answered with 400."""
        serializer = ListQuery(data=request.query_params)
        serializer.is_valid(raise_exception=True)
        options = dict(serializer.validated_data)
        self.size: int = options.pop("page_size")
        options |= {name: _seconds(options[name]) for name in ("created_after", "created_before")}
        self.order: str = options["ordering"]
        names = ("user", "client", "node", "state", "created_after", "created_before")
        filters = {name: options[name] for name in names}
        self.query = SessionQuery(text=options["search"], protocol_version=options["protocol"], **filters)
        self._filters = list(options.values())
        self._url = request.build_absolute_uri()
        cursor = request.query_params.get("cursor")
        self.offset = 0 if cursor is None else self._offset(cursor)

    def page_json(self, page: Page, results: list[Any]) -> dict[str, Any]:
        """Return a page as JSON, with links to the next and the previous one."""
        end = self.offset + self.size
        # If the total is an estimate, there may be another page after a full one.
        has_more = end < page.total if page.is_exact else len(page.sessions) == self.size
        return {
            "count": page.total,
            "count_is_exact": page.is_exact,
            "next": self._link(end) if has_more else None,
            "previous": self._link(max(0, self.offset - self.size)) if self.offset else None,
            "results": results,
        }

    def _link(self, offset: int) -> str:
        return _link(self._url, _SESSIONS_SALT, [offset, *self._filters])

    def _offset(self, cursor: str) -> int:
        offset, *filters = _read(cursor, _SESSIONS_SALT)
        if filters != self._filters:
            error = "This cursor belongs to a list with other filters or another order."
            raise exceptions.ValidationError({"cursor": [error]})
        return int(offset)


class MessageCursor:
    """The position of a request in the messages of a session."""

    def __init__(self, request: Any, key: str) -> None:
        """Read the cursor of a request. Raises: ValidationError, answered with 400."""
        self._url = request.build_absolute_uri()
        self._key = key
        cursor = request.query_params.get("cursor")
        self.after: dict[str, int] = {} if cursor is None else self._after(cursor)

    def link(self, after: Mapping[str, int]) -> str:
        """Return the URL of the messages after these numbers."""
        return _link(self._url, _MESSAGES_SALT, [self._key, dict(after)])

    def _after(self, cursor: str) -> dict[str, int]:
        key, after = _read(cursor, _MESSAGES_SALT)
        if key != self._key:
            raise exceptions.ValidationError({"cursor": ["This cursor belongs to another session."]})
        return dict(after)


def _seconds(time: datetime | None) -> float:
    return 0.0 if time is None else time.timestamp()


def _link(url: str, salt: str, value: Any) -> str:
    cursor = Signer(salt=salt).sign_object(value, compress=True)
    return str(replace_query_param(url, "cursor", cursor))


def _read(cursor: str, salt: str) -> Any:
    """Verify and decode a cursor. Raises: ValidationError."""
    try:
        return Signer(salt=salt).unsign_object(cursor)
    except (BadSignature, ValueError, UnicodeError):
        raise exceptions.ValidationError({"cursor": ["This is not a cursor of this server."]}) from None
