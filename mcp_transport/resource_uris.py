"""Resource URIs, normalized to the form that clients send."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from django.utils.encoding import iri_to_uri
from pydantic import AnyUrl, ValidationError

from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import template_variables

__all__ = ["check_variables", "normalized"]

_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.", re.S)
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")
# Replaces an expression of a template while the URL is parsed, which would escape the braces.
_PLACEHOLDER: Final = "x{}mcpvariable"


def check_variables(uri: str, parameters: Collection[str]) -> None:
    """Check that the variables of a URI template match the parameters of its function.

    Raises:
        DefinitionError: a variable or a parameter has no counterpart.
        ValueError: the template is invalid.
    """
    variables = template_variables(uri)
    if not variables:
        return  # a resource without variables; the SDK rejects its parameters
    for name in parameters:
        if name not in variables:
            raise DefinitionError(
                f"the parameter {name!r} is not a variable of {uri!r}. Add {{{name}}} to the URI, or {{?{name}}} if "
                "the parameter has a default"
            )
    if unknown := [name for name in variables if name not in parameters]:
        raise DefinitionError(f"the variable {unknown[0]!r} of {uri!r} is not a parameter of the function")


def normalized(uri: str) -> str:
    """Return a URI or a template as clients send it: escaped, scheme and host in lower case (WHATWG URL).

    Raises:
        DefinitionError: the URI is not absolute, or clients cannot send it.
    """
    if not _ABSOLUTE.match(uri):
        raise DefinitionError(f"{uri!r} is not an absolute URI. Start with a scheme, as in shop://products")
    expressions = _EXPRESSION.findall(uri)
    placeholders = [_PLACEHOLDER.format(number) for number in range(len(expressions))]
    remaining = iter(placeholders)
    try:
        plain = iri_to_uri(_EXPRESSION.sub(lambda _: next(remaining), uri))
        parsed = str(AnyUrl(plain))
    except (ValidationError, UnicodeError) as error:
        if not expressions or isinstance(error, UnicodeError):
            raise DefinitionError(f"{uri!r} is not a URI that clients can send") from error
        parsed = plain  # a placeholder is not valid in this part of a URL, such as the port
    for placeholder, expression in zip(placeholders, expressions, strict=True):
        parsed = parsed.replace(placeholder, expression)
    return parsed
