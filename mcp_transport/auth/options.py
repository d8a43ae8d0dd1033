"""The options of an authenticator in the settings, as keyword arguments of its constructor."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from mcp_transport import validation

__all__ = ["check_keys", "keyword_arguments"]

_CHECKED: Final = (str, bool, int, float)


def keyword_arguments(kind: Callable[..., Any], name: str, options: Any) -> dict[str, Any]:
    """Return the keyword arguments of an authenticator's constructor; options are written in upper case.

    Raises:
        ImproperlyConfigured: the options are not a dict, or one is unknown, set twice or of the wrong type.
    """
    place = f"MCP_TRANSPORT['AUTHENTICATORS']: OPTIONS of {name!r}"
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"{place} must be a dict, got {type(options).__name__}")
    arguments = {str(option).lower(): value for option, value in options.items()}
    if len(arguments) < len(options):
        raise ImproperlyConfigured(f"{place} set an option twice: {', '.join(map(str, options))}")
    if (parameters := _parameters(kind)) is not None:
        check_keys(place, map(str.upper, arguments), [parameter.upper() for parameter in parameters])
    for option, expected in _types(kind).items():
        # Options may be secret.
        if option in arguments and (fault := validation.type_fault(expected, arguments[option], is_secret=True)):
            raise ImproperlyConfigured(f"{place}, {option.upper()}: {fault}")
    return arguments


def check_keys(place: str, keys: Iterable[Any], allowed: Collection[str]) -> None:
    """Raise ImproperlyConfigured for the first key that is not allowed, with the closest one that is."""
    for key in keys:
        if key not in allowed:
            close = difflib.get_close_matches(str(key).upper(), allowed, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid keys are {', '.join(allowed) or 'none'}"
            raise ImproperlyConfigured(f"{place}: unknown key {key!r}; {hint}")


def _parameters(kind: Callable[..., Any]) -> list[str] | None:
    """Return the parameters of a constructor; None if it takes any, or has no signature, like built-in classes."""
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return None
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if takes_any else list(parameters)


def _types(kind: Any) -> dict[str, Any]:
    """Return the types of parameters with a plain value; none if the annotations cannot be resolved."""
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (AttributeError, NameError, TypeError):
        return {}
    return {name: expected for name, expected in hints.items() if expected in _CHECKED}
