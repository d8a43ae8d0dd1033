"""What lists are asked for, and where in them a request is: backends count, and cursors hide these numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.core.signing import BadSignature, Signer
from rest_framework import exceptions, serializers
from rest_framework.utils.urls import replace_query_param

from mcp_transport.backends.records import Page
from mcp_transport.domain.session_query import ORDERS, SessionQuery, State

__all__ = ["MAX_PAGE", "MAX_TEXT", "ORDERINGS", "PAGE", "ListQuery", "MessageQuery", "Place", "Tail"]

if TYPE_CHECKING:  # the framework has no types

    class _Serializer:
        validated_data: dict[str, Any]

        def __init__(self, *, data: Any) -> None: ...
        def is_valid(self, *, raise_exception: bool) -> bool: ...
else:
    _Serializer = serializers.Serializer

PAGE: Final = 100
MAX_PAGE: Final = 1000
MAX_TEXT: Final = 512
ORDERINGS: Final = tuple(sign + name for name in ORDERS for sign in ("-", ""))

_LIST: Final = "mcp_transport.api.cursor"
_MESSAGES: Final = "mcp_transport.api.messages"

# Each of them has an offset.
_TIMES: Final = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M%z"]


def _text() -> Any:
    return serializers.CharField(
        required=False, allow_blank=True, default="", max_length=MAX_TEXT, trim_whitespace=False
    )


def _choice(default: str, choices: tuple[str, ...]) -> Any:
    wrong = {"invalid_choice": f'"{{input}}" is none of these: {", ".join(choices)}.'}
    return serializers.ChoiceField(choices, required=False, default=default, error_messages=wrong)


def _instant() -> Any:
    wrong = 'Give a time with its offset: 2026-01-31T12:00:00Z. In an address, the "+" of one is written "%2B".'
    return serializers.DateTimeField(
        required=False, default=None, input_formats=_TIMES, default_timezone=UTC, error_messages={"invalid": wrong}
    )


class ListQuery(_Serializer):
    """Checks the query parameters of a list of sessions."""

    search = _text()
    user = _text()
    client = _text()
    protocol = _text()
    node = _text()
    state = _choice("", tuple(State))
    created_after = _instant()
    created_before = _instant()
    ordering = _choice("-last_seen", ORDERINGS)
    page_size = serializers.IntegerField(required=False, default=PAGE, min_value=1, max_value=MAX_PAGE)


class MessageQuery(_Serializer):
    """Checks the query parameters of a list of messages."""

    payloads = serializers.BooleanField(required=False, default=False)


class Place:
    """Where in which list of sessions a request is."""

    def __init__(self, request: Any) -> None:
        """Read a request's query. Raises: ValidationError, answered with 400."""
        checked = ListQuery(data=request.query_params)
        checked.is_valid(raise_exception=True)
        asked = dict(checked.validated_data)
        self.size: int = asked.pop("page_size")
        asked |= {name: _seconds(asked[name]) for name in ("created_after", "created_before")}
        self.order: str = asked["ordering"]
        same = {name: asked[name] for name in ("user", "client", "node", "state", "created_after", "created_before")}
        self.query = SessionQuery(text=asked["search"], protocol_version=asked["protocol"], **same)
        self._filters = list(asked.values())
        self._address = request.build_absolute_uri()
        cursor = request.query_params.get("cursor")
        self.offset = 0 if cursor is None else self._offset(cursor)

    def answer(self, page: Page, results: list[Any]) -> dict[str, Any]:
        """Wrap a page's results in what leads to its neighbours."""
        behind = self.offset + self.size
        # Where the total is a guess, a page that is full may have another one behind it.
        has_more = behind < page.total if page.is_exact else len(page.sessions) == self.size
        return {
            "count": page.total,
            "count_is_exact": page.is_exact,
            "next": self._link(behind) if has_more else None,
            "previous": self._link(max(0, self.offset - self.size)) if self.offset else None,
            "results": results,
        }

    def _link(self, offset: int) -> str:
        return _link(self._address, _LIST, [offset, *self._filters])

    def _offset(self, cursor: str) -> int:
        offset, *filters = _read(cursor, _LIST)
        if filters != self._filters:
            wrong = "This cursor belongs to a list with other filters, or in another order."
            raise exceptions.ValidationError({"cursor": [wrong]})
        return int(offset)


class Tail:
    """How far a request has read the messages of a session."""

    def __init__(self, request: Any, key: str) -> None:
        """Read a request's cursor. Raises: ValidationError, answered with 400."""
        self._address = request.build_absolute_uri()
        self._key = key
        cursor = request.query_params.get("cursor")
        self.after: dict[str, int] = {} if cursor is None else self._after(cursor)

    def link(self, after: Mapping[str, int]) -> str:
        """Return the address of what comes next."""
        return _link(self._address, _MESSAGES, [self._key, dict(after)])

    def _after(self, cursor: str) -> dict[str, int]:
        key, after = _read(cursor, _MESSAGES)
        if key != self._key:
            raise exceptions.ValidationError({"cursor": ["This cursor belongs to another session."]})
        return dict(after)


def _seconds(time: datetime | None) -> float:
    return 0.0 if time is None else time.timestamp()


def _link(address: str, salt: str, value: Any) -> str:
    cursor = Signer(salt=salt).sign_object(value, compress=True)
    return str(replace_query_param(address, "cursor", cursor))


def _read(cursor: str, salt: str) -> Any:
    """Return what a cursor says. Raises: ValidationError."""
    try:
        return Signer(salt=salt).unsign_object(cursor)
    except (BadSignature, ValueError, UnicodeError):
        raise exceptions.ValidationError({"cursor": ["This is no cursor of this server."]}) from None
