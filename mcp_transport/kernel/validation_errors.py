"""Report validation errors in a few lines, however many there are and however long their values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from mcp_transport.protocol.quoting import MAX_QUOTE, truncate

__all__ = ["argument_error", "error_locations", "explain", "is_short", "summarize_errors", "truncate_uri"]

# Above this number no error is listed: pydantic builds a dict of every error before the first can be read.
_MAX_LISTED: Final = 20
_MAX_SHOWN: Final = 3

# Characters of pydantic's own text that may be sent and logged.
_MAX_TEXT: Final = 8192


def truncate_uri(error: dict[str, Any], uri: Any) -> dict[str, Any]:
    """Truncate the request's URI in a JSON-RPC error that repeats it."""
    if not isinstance(uri, str) or len(uri) <= MAX_QUOTE:
        return error
    data = error.get("data")
    repeated = {"data": {**data, "uri": truncate(uri)}} if isinstance(data, dict) and data.get("uri") == uri else {}
    return {**error, "message": error["message"].replace(uri, truncate(uri)), **repeated}


def explain(error: ValidationError) -> str:
    """Return one line with the location and the message of the first errors, without values."""
    shown = [f"{truncate('.'.join(map(str, item['loc']))) or 'params'}: {item['msg']}" for item in _first(error)]
    return "; ".join([*shown, *_rest(error, len(shown))])


def is_short(error: ValidationError) -> bool:
    """Return whether pydantic's own text is short enough to be sent and logged; its input must be short as well."""
    return error.error_count() <= _MAX_LISTED and len(str(error)) <= _MAX_TEXT


def error_locations(error: ValidationError) -> list[tuple[int | str, ...]]:
    """Return the locations of the first errors; an empty list if there are more than `_MAX_LISTED`."""
    return [item["loc"] for item in _first(error)]


def summarize_errors(error: ValidationError) -> ValidationError:
    """Return an equivalent error that has a few lines; the original may have millions."""
    shown = [_line(item["type"], item["msg"], item["loc"]) for item in _first(error)]
    rest = [_line("more_errors", text, ()) for text in _rest(error, len(shown))]
    return ValidationError.from_exception_data(error.title, shown + rest, hide_input=True)


def argument_error(title: str, text: str) -> ValidationError:
    """Return the error of arguments that a validator refused with a text of its own."""
    return ValidationError.from_exception_data(title, [_line("refused", text, ())], hide_input=True)


def _first(error: ValidationError) -> list[dict[str, Any]]:
    """Return the first errors with truncated messages and locations; none if there are more than `_MAX_LISTED`."""
    if error.error_count() > _MAX_LISTED:
        return []
    items = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_SHOWN]
    return [{"type": item["type"], "msg": truncate(item["msg"]), "loc": _truncate_all(item["loc"])} for item in items]


def _rest(error: ValidationError, shown: int) -> list[str]:
    count = error.error_count() - shown
    text = f"{count} more errors" if shown else f"{count} errors, too many to list: compare it with the schema"
    return [text] if count else []


def _truncate_all(location: Iterable[int | str]) -> tuple[int | str, ...]:
    return tuple(truncate(part) if isinstance(part, str) else part for part in location)


def _line(kind: str, text: str, location: tuple[int | str, ...]) -> InitErrorDetails:
    # The text is a parameter of the template, since it may contain braces.
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": text}), loc=location, input=None)
