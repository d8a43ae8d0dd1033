"""Validate the arguments of prompts and the variables of resource templates, which are all strings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources import ResourceManager, ResourceTemplate
from mcp.server.mcpserver.utilities.func_metadata import func_metadata
from mcp.shared.uri_template import UriTemplate
from pydantic import BaseModel, BeforeValidator, PlainValidator, ValidationError, WrapValidator

from mcp_transport.kernel.schemas import accepts_type
from mcp_transport.kernel.validation_errors import explain
from mcp_transport.protocol.quoting import truncate

__all__ = ["match_template", "non_text_parameters", "prompt_fault", "template_variables", "variables_fault"]

# JSON Schema types that pydantic parses from a string.
_PARSED_TYPES: Final = ("string", "integer", "number", "boolean", None)

# Validators that may convert a string to any type.
_CONVERTERS: Final = (BeforeValidator, PlainValidator, WrapValidator)


def prompt_fault(prompt: Prompt, arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with the arguments of a prompt, or ""; the SDK would treat it as an internal error."""
    declared = {argument.name: argument.required for argument in prompt.arguments or ()}
    if missing := [name for name, required in declared.items() if required and name not in arguments]:
        return f"needs {', '.join(missing)}"
    if (unknown := next((name for name in arguments if name not in declared), None)) is not None:
        return f"takes no argument {truncate(unknown)!r}"
    if not all(isinstance(value, str) for value in arguments.values()):
        return ""  # the SDK refuses these itself
    return _fault(prompt, arguments)


def variables_fault(server: MCPServer[Any], uri: str) -> str:
    """Return what is wrong with the variables of the template that a URI matches, or ""."""
    resources = server._resource_manager  # private: `get_resource` would run the template's function
    if uri in resources._resources or (match := match_template(resources, uri)) is None:
        return ""
    return _fault(*match)


def match_template(resources: ResourceManager, uri: str) -> tuple[ResourceTemplate, dict[str, Any]] | None:
    """Return the template that the SDK reads a URI with, the first that matches, and the values of its variables."""
    with suppress(ValueError):  # path traversal in a variable, which the SDK refuses itself
        for template in resources._templates.values():
            if (values := template.matches(uri)) is not None:
                return template, values
    return None


def template_variables(uri: str) -> list[str]:
    """Return the names of the variables in a URI template. Raises: ValueError."""
    return list(UriTemplate.parse(uri).variable_names)


def non_text_parameters(prompt: Prompt) -> list[str]:
    """Return the required parameters of a prompt that no string is valid for."""
    model = _model(prompt.fn, prompt.context_kwarg)
    schema = model.model_json_schema()
    properties = schema.get("properties", {})
    definitions = schema.get("$defs", {})
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return [
        name
        for name in schema.get("required", ())
        if not accepts_type(properties[name], definitions, _PARSED_TYPES)
        and not any(isinstance(item, _CONVERTERS) for item in fields[name].metadata)
    ]


def _fault(target: Prompt | ResourceTemplate, values: Mapping[str, Any]) -> str:
    try:
        _model(target.fn, target.context_kwarg).model_validate(values)
    except ValidationError as error:
        return explain(error)
    return ""


@lru_cache(maxsize=1024)
def _model(function: Any, context: str | None) -> type[BaseModel]:
    """Return a pydantic model of a function's parameters; the SDK wraps the function to validate its calls."""
    raw = getattr(function, "raw_function", function)
    return func_metadata(raw, skip_names=[context] if context else [], structured_output=False).arg_model
