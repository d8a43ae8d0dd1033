"""The options of an authenticator in the settings: none is dropped, and none is taken for another."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from mcp_transport import validation

__all__ = ["keyword_arguments", "refuse_unknown"]

_CHECKED: Final = (str, bool, int, float)


def keyword_arguments(kind: Callable[..., Any], name: str, options: Any) -> dict[str, Any]:
    """Return what to call an authenticator's constructor with; its options are written in capitals.

    Raises:
        ImproperlyConfigured: the options are no dict, or one is unknown, given twice or of the wrong type.
    """
    place = f"MCP_TRANSPORT['AUTHENTICATORS']: OPTIONS of {name!r}"
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"{place} must be a dict, got {type(options).__name__}")
    given = {str(option).lower(): value for option, value in options.items()}
    if len(given) < len(options):
        raise ImproperlyConfigured(f"{place} name an option twice: {', '.join(map(str, options))}")
    if (known := _parameters(kind)) is not None:
        refuse_unknown(place, map(str.upper, given), [parameter.upper() for parameter in known])
    for option, expected in _types(kind).items():
        # Options may be secret.
        if option in given and (fault := validation.type_fault(expected, given[option], is_secret=True)):
            raise ImproperlyConfigured(f"{place}, {option.upper()}: {fault}")
    return given


def refuse_unknown(place: str, given: Iterable[Any], known: Collection[str]) -> None:
    """Raise ImproperlyConfigured for the first key that is not known."""
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key).upper(), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"
            raise ImproperlyConfigured(f"{place}: {key!r} is unknown; {hint}")


def _parameters(kind: Callable[..., Any]) -> list[str] | None:
    """Return the names of what a constructor takes; None if it takes any, or cannot be asked, as built-in classes."""
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return None
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if takes_any else list(parameters)


def _types(kind: Any) -> dict[str, Any]:
    """Return the parameters that take a plain value; nothing where annotations cannot be read."""
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (AttributeError, NameError, TypeError):
        return {}
    return {name: expected for name, expected in hints.items() if expected in _CHECKED}
