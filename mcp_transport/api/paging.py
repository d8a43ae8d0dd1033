"""The query of a list of sessions, and its pages: backends count from the newest, cursors hide that number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.signing import BadSignature, Signer
from rest_framework import exceptions, serializers
from rest_framework.utils.urls import replace_query_param

from mcp_transport.backends.records import Page
from mcp_transport.protocol.search import SessionQuery

__all__ = ["MAX_PAGE", "MAX_TEXT", "PAGE", "ListQuery", "Place"]

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


def _text() -> Any:
    return serializers.CharField(
        required=False, allow_blank=True, default="", max_length=MAX_TEXT, trim_whitespace=False
    )


class ListQuery(_Serializer):
    """Checks the query parameters."""

    search = _text()
    user = _text()
    client = _text()
    protocol = _text()
    node = _text()
    page_size = serializers.IntegerField(required=False, default=PAGE, min_value=1, max_value=MAX_PAGE)


class Place:
    """Where in which list a request is."""

    def __init__(self, request: Any) -> None:
        """Read a request's query. Raises: ValidationError, answered with 400."""
        checked = ListQuery(data=request.query_params)
        checked.is_valid(raise_exception=True)
        asked = dict(checked.validated_data)
        self.size: int = asked.pop("page_size")
        exact = {name: asked[name] for name in ("user", "client", "node")}
        self.query = SessionQuery(text=asked["search"], protocol_version=asked["protocol"], **exact)
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
        cursor = _signer().sign_object([offset, *self._filters])
        return str(replace_query_param(self._address, "cursor", cursor))

    def _offset(self, cursor: str) -> int:
        try:
            offset, *filters = _signer().unsign_object(cursor)
        except (BadSignature, ValueError, UnicodeError):
            raise exceptions.ValidationError({"cursor": ["This is no cursor of this server."]}) from None
        if filters != self._filters:
            raise exceptions.ValidationError({"cursor": ["This cursor belongs to a list with other filters."]})
        return int(offset)


def _signer() -> Signer:
    return Signer(salt="mcp_transport.api.cursor")
