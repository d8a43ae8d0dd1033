"""The forms of option values: what each may be, in words for messages and as a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, Final, NamedTuple

__all__ = ["LIST", "Form", "option", "value_error"]

LIST: Final = "tuple[str, ...]"
"""The annotation of an option that may be given several times."""

_NAME: Final = r"(?!\.{1,2}(/|$))[\w.@-]+"  # of a file or folder; not . and ..
_NAMES: Final = rf"{_NAME}(/{_NAME})*"
_PORT: Final = r"(?!0)(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_DOTTED: Final = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_VARIABLE: Final = r"[A-Z][A-Z0-9_]*"
_DNS_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_OBJECT: Final = rf"(?=.{{1,253}}$){_DNS_LABEL}(\.{_DNS_LABEL})*"
_URL: Final = r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+"
_REGION: Final = r"[a-z0-9]+(-[a-z0-9]+)*"
_OPERATION: Final = r"[A-Za-z0-9_./-]+( [A-Za-z0-9_./:-]+)?"


class Form(NamedTuple):
    """The form of a text option: a description for messages, and a regular expression."""

    description: str
    pattern: str


LABEL: Final = Form(
    "a name of at most 40 lower-case letters, digits and -, starting with a letter and not ending with -",
    r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
)
HOST: Final = Form("a lower-case DNS name such as mcp.example.com", _OBJECT)
PATH: Final = Form("a path that starts with / and does not end with /", _URL)
PATHS: Final = Form("comma-separated paths that start with / and do not end with /", rf"({_URL}(,{_URL})*)?")
MODULE: Final = Form("the dotted name of a module, such as shop.settings", _DOTTED)
HANDLER: Final = Form("a module, a dot and a name, such as shop.lambda_handler.handler", rf"{_DOTTED}\.[A-Za-z_]\w*")
APPLICATION: Final = Form("a module, a colon and a name, such as shop.asgi:application", rf"{_DOTTED}:[A-Za-z_]\w*")
IMAGE: Final = Form(
    "the name of an image, such as registry.example.com/shop:1.0", r"[a-z0-9][\w.:/-]{0,254}(@sha256:[0-9a-f]{64})?"
)
VARIABLES: Final = Form("comma-separated names of upper-case letters, digits and _", rf"{_VARIABLE}(,{_VARIABLE})*")
VARIABLE: Final = Form(
    "NAME=VALUE, a value without spaces, quotes, $, % and \\", rf"{_VARIABLE}=[\w.,:;/@+=~!*()\[\]-]*"
)
ANNOTATION: Final = Form(
    "NAME=VALUE, such as example.com/option=on, a value on one line",
    rf"({_OBJECT.replace('{1,253}$', '{1,253}/')}/)?[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?=[^\n\r]*",
)
ADDRESSES: Final = Form(
    "comma-separated host:port, hosts in lower case and ports from 1 to 65535",
    rf"([a-z0-9.-]+:{_PORT}(,[a-z0-9.-]+:{_PORT})*)?",
)
PORTS: Final = Form("comma-separated ports from 1 to 65535", rf"{_PORT}(,{_PORT})*")
LISTEN: Final = Form("*, an IPv4 address, or an IPv6 address in brackets", r"\*|[0-9.]+|\[[0-9a-f:]+\]")
ABSOLUTE: Final = Form("an absolute path of letters, digits, . _ @ and -, without ..", rf"(/{_NAME})+")
URL_PATH: Final = Form("a path that starts and ends with /", rf"(/({_NAME}/)+)?")
ANYWHERE: Final = Form("a path of letters, digits, . _ @ and -, without ..", rf"(/?{_NAMES})?")
NETWORK: Final = Form("a network such as 172.28.7.0/24", r"[0-9.]+/[0-9]+")
OTHER_NETWORK: Final = Form("a network such as 10.0.0.0/16", r"([0-9.]+/[0-9]+)?")
PROXIES: Final = Form(
    "comma-separated networks such as 10.244.0.0/16", r"([0-9a-f.:]+/[0-9]+(,[0-9a-f.:]+/[0-9]+)*)?"
)
OBJECT: Final = Form("the name of an object, such as letsencrypt", rf"({_OBJECT})?")
NAMESPACE: Final = Form("the name of a namespace", rf"({_DNS_LABEL})?")
CPU: Final = Form("a number of processors such as 500m or 1", r"(?!0+m?$)\d{1,6}m?|\d{1,3}\.\d{1,3}")
MEMORY: Final = Form("an amount of memory such as 512Mi or 1Gi", r"[1-9]\d{0,6}[MG]i?")
OPERATIONS: Final = Form(
    "comma-separated operations such as tools/list or 'tools/call search'", rf"({_OPERATION}(,{_OPERATION})*)?"
)
REGIONS: Final = Form("comma-separated names of regions, each once", rf"({_REGION}(,{_REGION})*)?")
TABLE: Final = Form("a name of 3 to 255 letters, digits, . _ and -", r"[A-Za-z0-9._-]{3,255}")
INSIDE: Final = Form("names of letters, digits, . _ @ and -", rf"\.|{_NAMES}")


def option(
    default: Any,
    help: str,
    *,
    form: Form | None = None,
    choices: tuple[str, ...] = (),
    minimum: int = 1,
    maximum: int = 65535,
) -> Any:
    """Declare an option of `mcp_deploy` with its help text and its valid values."""
    metadata = {"help": help, "form": form, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


def value_error(kind: Any, rule: Any, value: Any) -> str:
    """Return why a value is not valid for an option of this annotation; empty if it is."""
    return _ERRORS.get(kind, _text_error)(rule, value)


def _number_error(rule: Any, value: Any) -> str:
    is_valid = type(value) is int and rule["minimum"] <= value <= rule["maximum"]
    return "" if is_valid else f"expected a number from {rule['minimum']} to {rule['maximum']}, got {value!r}"


def _switch_error(rule: Any, value: Any) -> str:
    return "" if isinstance(value, bool) else f"expected yes or no, got {value!r}"


def _list_error(rule: Any, value: Any) -> str:
    return next((error for item in value if (error := _text_error(rule, item))), "")


def _text_error(rule: Any, value: Any) -> str:
    if rule["choices"] and value not in rule["choices"]:
        return f"expected one of {', '.join(rule['choices'])}, got {value!r}"
    if (form := rule["form"]) and not (isinstance(value, str) and re.fullmatch(form.pattern, value)):
        return f"must be {form.description}, got {value!r}"
    return ""


_ERRORS: Final[dict[str, Callable[[Any, Any], str]]] = {
    "int": _number_error,
    "bool": _switch_error,
    LIST: _list_error,
}
