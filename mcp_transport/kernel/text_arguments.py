"""What prompts and resource templates are called with: texts, by the names of a function's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources import ResourceTemplate
from mcp.server.mcpserver.utilities.func_metadata import func_metadata
from mcp.shared.uri_template import UriTemplate
from pydantic import BaseModel, BeforeValidator, PlainValidator, ValidationError, WrapValidator

from mcp_transport.kernel.json_types import takes_text
from mcp_transport.kernel.validation_errors import described
from mcp_transport.protocol.quoting import cut

__all__ = ["prompt_fault", "template_variables", "untextual", "variables_fault"]

# The types of JSON Schema that pydantic reads from a text.
_READABLE: Final = ("string", "integer", "number", "boolean", None)

# Validators that may make anything of a text.
_READERS: Final = (BeforeValidator, PlainValidator, WrapValidator)


def prompt_fault(prompt: Prompt, given: Mapping[str, Any]) -> str:
    """Say what is wrong with the arguments of a prompt, which the SDK takes for a failure of the server."""
    known = {argument.name: argument.required for argument in prompt.arguments or ()}
    if missing := [name for name, required in known.items() if required and name not in given]:
        return f"needs {', '.join(missing)}"
    if (unknown := next((name for name in given if name not in known), None)) is not None:
        return f"takes no argument {cut(unknown)!r}"
    if not all(isinstance(value, str) for value in given.values()):
        return ""  # which the SDK refuses
    return _fault(prompt, given)


def variables_fault(server: MCPServer[Any], uri: str) -> str:
    """Say what is wrong with the variables of the template that a URI matches, if it matches any."""
    manager = server._resource_manager
    if uri in manager._resources:
        return ""
    for template in manager._templates.values():
        try:
            values = template.matches(uri)
        except ValueError:  # its variables point elsewhere, which the SDK refuses
            return ""
        if values is not None:
            return _fault(template, values)
    return ""


def template_variables(uri: str) -> list[str]:
    """Return the variables of a resource's URI. Raises: ValueError."""
    return list(UriTemplate.parse(uri).variable_names)


def untextual(prompt: Prompt) -> list[str]:
    """Return the required parameters for which no text is valid."""
    model = _model(prompt.fn, prompt.context_kwarg)
    schema = model.model_json_schema()
    places = schema.get("properties", {})
    definitions = schema.get("$defs", {})
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return [
        name
        for name in schema.get("required", ())
        if not takes_text(places[name], definitions, _READABLE)
        and not any(isinstance(item, _READERS) for item in fields[name].metadata)
    ]


def _fault(called: Prompt | ResourceTemplate, values: Mapping[str, Any]) -> str:
    try:
        _model(called.fn, called.context_kwarg).model_validate(values)
    except ValidationError as error:
        return described(error)
    return ""


@lru_cache(maxsize=1024)
def _model(function: Any, context: str | None) -> type[BaseModel]:
    """Return a model of the parameters of a function; the SDK has wrapped it to check them as it is called."""
    raw = getattr(function, "raw_function", function)
    return func_metadata(raw, skip_names=[context] if context else [], structured_output=False).arg_model
