"""URIs of resources in the form in which clients send them."""

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
# Stands for the number of an expression of a template while a URL is parsed, which would escape its braces.
_PLACE: Final = "x{}mcpvariable"


def check_variables(uri: str, parameters: Collection[str]) -> None:
    """Compare the variables of a template with the parameters of its function.

    Raises:
        DefinitionError: one of them has no counterpart.
        ValueError: the template is none.
    """
    variables = template_variables(uri)
    if not variables:
        return  # a resource, whose parameters the SDK refuses
    for name in parameters:
        if name not in variables:
            raise DefinitionError(
                f"the parameter {name!r} is no variable of {uri!r}. Add {{{name}}} to it, or {{?{name}}} where the "
                "parameter has a default"
            )
    if unknown := [name for name in variables if name not in parameters]:
        raise DefinitionError(f"the variable {unknown[0]!r} of {uri!r} is no parameter of the function")


def normalized(uri: str) -> str:
    """Return a URI, or a template, as clients send it: escaped, scheme and host in lower case (WHATWG URL).

    Raises:
        DefinitionError: it is no absolute URI.
    """
    if not _ABSOLUTE.match(uri):
        raise DefinitionError(f"{uri!r} is no absolute URI. Begin with a scheme, as in shop://products")
    expressions = _EXPRESSION.findall(uri)
    places = [_PLACE.format(number) for number in range(len(expressions))]
    waiting = iter(places)
    try:
        plain = iri_to_uri(_EXPRESSION.sub(lambda _: next(waiting), uri))
        parsed = str(AnyUrl(plain))
    except (ValidationError, UnicodeError) as error:
        if not expressions or isinstance(error, UnicodeError):
            raise DefinitionError(f"{uri!r} is no URI that clients can send") from error
        parsed = plain  # a variable stands where a URL cannot have a word, such as the port
    for place, expression in zip(places, expressions, strict=True):
        parsed = parsed.replace(place, expression)
    return parsed
