"""What is said of values that do not validate: a few lines, however many errors there are and however long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from mcp_transport.protocol.quoting import MAX_QUOTE, cut

__all__ = ["brief", "cut_uri", "described", "is_brief", "places", "stated"]

# pydantic makes a dict of each error before the first can be looked at.
_MOST_BUILT: Final = 20
_MOST_SHOWN: Final = 3

# Characters of pydantic's own text.
_LONGEST: Final = 8192


def cut_uri(error: dict[str, Any], uri: Any) -> dict[str, Any]:
    """Shorten the URI of a request in a JSON-RPC error that repeats it."""
    if not isinstance(uri, str) or len(uri) <= MAX_QUOTE:
        return error
    data = error.get("data")
    repeated = {"data": {**data, "uri": cut(uri)}} if isinstance(data, dict) and data.get("uri") == uri else {}
    return {**error, "message": error["message"].replace(uri, cut(uri)), **repeated}


def described(error: ValidationError) -> str:
    """Say in one line what is wrong and where, without repeating values."""
    shown = [f"{cut('.'.join(map(str, item['loc']))) or 'params'}: {item['msg']}" for item in _first(error)]
    return "; ".join([*shown, *_rest(error, len(shown))])


def is_brief(error: ValidationError) -> bool:
    """Tell whether pydantic's own text may be sent and logged; the values behind it must be short."""
    return error.error_count() <= _MOST_BUILT and len(str(error)) <= _LONGEST


def places(error: ValidationError) -> list[tuple[int | str, ...]]:
    """Return where the first errors are; nothing where there are too many to look at."""
    return [item["loc"] for item in _first(error)]


def brief(error: ValidationError) -> ValidationError:
    """Return an error of a few lines in place of one that may have millions."""
    shown = [_line(item["type"], item["msg"], item["loc"]) for item in _first(error)]
    rest = [_line("more_errors", text, ()) for text in _rest(error, len(shown))]
    return ValidationError.from_exception_data(error.title, shown + rest, hide_input=True)


def stated(title: str, text: str) -> ValidationError:
    """Return the error of arguments that a validator refuses in its own words."""
    return ValidationError.from_exception_data(title, [_line("refused", text, ())], hide_input=True)


def _first(error: ValidationError) -> list[dict[str, Any]]:
    """Return the first errors, their texts and places cut; nothing where there are too many to look at."""
    if error.error_count() > _MOST_BUILT:
        return []
    items = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_SHOWN]
    return [{"type": item["type"], "msg": cut(item["msg"]), "loc": _cut_all(item["loc"])} for item in items]


def _rest(error: ValidationError, shown: int) -> list[str]:
    left = error.error_count() - shown
    if not left:
        return []
    return [f"{left} more errors" if shown else f"{left} errors, too many to list: compare it with the schema"]


def _cut_all(place: Iterable[int | str]) -> tuple[int | str, ...]:
    return tuple(cut(part) if isinstance(part, str) else part for part in place)


def _line(kind: str, text: str, place: tuple[int | str, ...]) -> InitErrorDetails:
    # The text is a value of the template, since it may hold braces itself.
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": text}), loc=place, input=None)
