"""Validate the arguments of tools at a cost in proportion to their size.

With the SDK, pydantic collects every error: a list of 100,000 empty objects in place of models of thirty members has
three million errors, which take twenty seconds and half a gigabyte to report.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import orjson
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool, ToolManager
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import PrivateAttr, ValidationError
from pydantic_core import SchemaValidator

from mcp_transport.kernel.failures import note_failure
from mcp_transport.kernel.schemas import accepts_type, build_output_adapter, has_numbers, number_fault
from mcp_transport.kernel.validation_errors import argument_error, is_short, summarize_errors
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["BoundedMetadata", "bounded_tool", "called_tool", "short_json"]

# JSON values inside the strings of one call that are parsed: as many as a body may hold.
_MAX_PARSED_VALUES: Final = 100_000

# Bytes of a value that is within every limit, whatever it holds.
_MAX_SHORT_BYTES: Final = 2048

# JSON Schema types that accept a string; None stands for a schema without a type, which accepts everything.
_STRING_TYPES: Final = ("string", None)

# Core schemas with `fail_fast`, members that hold schemas by name, and members without a schema inside
# (pydantic_core.core_schema).
_CONTAINERS: Final = ("list", "deque", "tuple", "set", "frozenset", "dict", "frozendict", "ordered-dict", "counter")
_BY_NAME: Final = ("fields", "choices")
_NO_SCHEMA: Final = ("default", "expected", "metadata", "serialization", "config")


def short_json(value: Any) -> bytes | None:
    """Encode a value as JSON; None if that takes over `_MAX_SHORT_BYTES`, or the value is nested too deep."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        return None
    return encoded if len(encoded) <= _MAX_SHORT_BYTES else None


class BoundedMetadata(FuncMetadata):
    """The SDK's metadata, but long arguments and those with many errors fail at a container's first wrong item."""

    _has_numbers: bool = PrivateAttr(default=False)

    def convert_result(self, result: Any) -> CallToolResult | InputRequiredResult:
        """Convert a tool's return value. Raises: ToolError for a NaN or an infinity that the conversion produced."""
        converted = super().convert_result(result)
        if self._has_numbers and (fault := number_fault(getattr(converted, "structured_content", None))):
            raise ToolError(fault)
        return converted

    def validate_arguments(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        """Validate arguments. Raises: ValidationError, shortened where the SDK's would be long."""
        try:
            return self._validated(arguments_to_validate)
        except ValidationError as error:  # noted here, since on the SDK's own path nobody else sees it
            note_failure(error)
            raise
        except ToolError as error:  # raised by a validator; the SDK would treat it as a crash
            raise argument_error(self.arg_model.__name__, str(error)) from error

    def warm(self) -> None:
        """Build what the first arguments and the first result would build."""
        _non_string_arguments(self.arg_model)
        build_output_adapter(self)

    def _validated(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        if short_json(arguments_to_validate) is not None:
            try:
                return super().validate_arguments(arguments_to_validate)
            except ValidationError as error:
                if is_short(error):
                    raise
        try:
            validated = _fail_fast_validator(self.arg_model).validate_python(self._parsed(arguments_to_validate))
        except ValidationError as error:
            raise summarize_errors(error) from None
        arguments: dict[str, Any] = validated.model_dump_one_level()
        return arguments

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Parse strings in which clients encode objects and arrays, except where a string is valid itself."""
        names = _non_string_arguments(self.arg_model)
        strings = {name: value for name, value in data.items() if name in names and isinstance(value, str)}
        return data | super().pre_parse_json(strings) if strings else data

    def _parsed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Parse strings that encode objects and arrays; those beyond `_MAX_PARSED_VALUES` stay strings."""
        budget, unparsed = _MAX_PARSED_VALUES, {}
        for name, value in arguments.items():
            if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                budget -= value.count(",") + value.count("[") + value.count("{")
                if budget < 0:
                    unparsed[name] = value
        parsed = self.pre_parse_json({name: item for name, item in arguments.items() if name not in unparsed})
        return parsed | unparsed


def called_tool(tools: ToolManager | None, request: Request) -> Tool | None:
    """Return the tool that a request calls."""
    if tools is None or request.method != "tools/call" or not (params := request.params):
        return None
    name = params.get("name")
    return tools.get_tool(name) if isinstance(name, str) else None


def bounded_tool(tools: ToolManager | None, request: Request) -> Tool | None:
    """Return the tool that a request calls, and make it validate its arguments at a bounded cost from now on.

    Metadata that a project replaced stays.
    """
    tool = called_tool(tools, request)
    if tool is not None and type(original := tool.fn_metadata) is FuncMetadata:
        bounded = BoundedMetadata.model_construct(
            **{name: getattr(original, name) for name in FuncMetadata.model_fields}
        )
        bounded._has_numbers = has_numbers(original.output_schema)
        tool.fn_metadata = bounded
    return tool


@lru_cache(maxsize=1024)
def _non_string_arguments(model: Any) -> frozenset[str]:
    """Return the names of the arguments for which no string is valid."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    members = schema.get("properties", {}).items()
    return frozenset(name for name, member in members if not accepts_type(member, definitions, _STRING_TYPES))


@lru_cache(maxsize=1024)
def _fail_fast_validator(model: Any) -> SchemaValidator:
    """Build a validator of a model that stops at the first wrong item of each container.

    `_use_prebuilt=False`: prebuilt validators of nested models would collect every error.
    """
    return SchemaValidator(_fail_fast(model.__pydantic_core_schema__), _use_prebuilt=False)


def _fail_fast(schema: Any) -> Any:
    if type(schema) in (list, tuple):
        return type(schema)(map(_fail_fast, schema))
    if type(schema) is not dict:
        return schema
    inner = {name: _fail_fast_member(name, value) for name, value in schema.items()}
    return inner | {"fail_fast": True} if inner.get("type") in _CONTAINERS else inner


def _fail_fast_member(name: str, value: Any) -> Any:
    if name in _NO_SCHEMA:
        return value
    if name in _BY_NAME and type(value) is dict:
        return {key: _fail_fast(schema) for key, schema in value.items()}
    return _fail_fast(value)
