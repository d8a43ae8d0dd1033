"""Arguments of tools, judged at a cost in proportion to their size.

The SDK has pydantic look for every error, and lists each: a list of a hundred thousand empty objects where models of
thirty members are wanted has three million of them, which take twenty seconds and half a gigabyte to be told of.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import PrivateAttr, ValidationError
from pydantic_core import SchemaValidator

from mcp_transport.kernel.json_types import takes_text
from mcp_transport.kernel.output_schema import has_numbers, number_fault
from mcp_transport.kernel.parse_cache import in_short
from mcp_transport.kernel.validation_errors import brief, is_brief, stated

__all__ = ["BoundedMetadata", "bound"]

# Values in the texts of one call that are read as JSON, as many as a body may hold.
_MOST_PARSED: Final = 100_000

# The types of JSON Schema that a text has; without one, everything is valid.
_TEXTS: Final = ("string", None)

# What pydantic can leave at the first error inside, where a schema has schemas by name, and where it has none
# (pydantic_core.core_schema).
_CONTAINERS: Final = ("list", "deque", "tuple", "set", "frozenset", "dict", "frozendict", "ordered-dict", "counter")
_BY_NAME: Final = ("fields", "choices")
_NO_SCHEMA: Final = ("default", "expected", "metadata", "serialization", "config")


class BoundedMetadata(FuncMetadata):
    """The SDK's own, up to the first wrong item of a container where arguments are long or have many errors."""

    _has_numbers: bool = PrivateAttr(default=False)

    def convert_result(self, result: Any) -> CallToolResult | InputRequiredResult:
        """Convert what a tool returned. Raises: ToolError for a number that only conversion has made."""
        converted = super().convert_result(result)
        if self._has_numbers and (fault := number_fault(getattr(converted, "structured_content", None))):
            raise ToolError(fault)
        return converted

    def validate_arguments(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        """Validate arguments. Raises: ValidationError, of a few lines where the SDK's would be long."""
        try:
            return self._validated(arguments_to_validate)
        except ToolError as error:  # of a validator, which the SDK takes for a crash
            raise stated(self.arg_model.__name__, str(error)) from error

    def _validated(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        if in_short(arguments_to_validate) is not None:
            try:
                return super().validate_arguments(arguments_to_validate)
            except ValidationError as error:
                if is_brief(error):
                    raise
        try:
            validated = _hasty(self.arg_model).validate_python(self._parsed(arguments_to_validate))
        except ValidationError as error:
            raise brief(error) from None
        arguments: dict[str, Any] = validated.model_dump_one_level()
        return arguments

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Read texts as JSON where clients write objects and arrays so, but not where a text is valid itself."""
        written = _no_texts(self.arg_model)
        parsed = {name: value for name, value in data.items() if name in written and isinstance(value, str)}
        return data | super().pre_parse_json(parsed) if parsed else data

    def _parsed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Parse texts that stand for objects and arrays, but for those that hold too much: these stay texts."""
        left, texts = _MOST_PARSED, {}
        for name, value in arguments.items():
            if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                left -= value.count(",") + value.count("[") + value.count("{")
                if left < 0:
                    texts[name] = value
        return self.pre_parse_json({name: item for name, item in arguments.items() if name not in texts}) | texts


def bound(tool: Tool) -> None:
    """Have a tool judge its arguments at a bounded cost, unless its metadata are somebody's own."""
    known = tool.fn_metadata
    if type(known) is FuncMetadata:
        bounded = BoundedMetadata.model_construct(arg_model=known.arg_model, wrap_output=known.wrap_output)
        bounded.output_schema, bounded.output_model = known.output_schema, known.output_model
        bounded._has_numbers = has_numbers(known.output_schema)
        tool.fn_metadata = bounded


@lru_cache(maxsize=1024)
def _no_texts(model: Any) -> frozenset[str]:
    """Return the arguments for which no text is valid, by the names they are passed by."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    members = schema.get("properties", {}).items()
    return frozenset(name for name, member in members if not takes_text(member, definitions, _TEXTS))


@lru_cache(maxsize=1024)
def _hasty(model: Any) -> SchemaValidator:
    """Make a model's validator anew, so that it leaves containers at their first wrong item.

    Validators of the models inside must not be reused: they would look for every error.
    """
    return SchemaValidator(_leaving_early(model.__pydantic_core_schema__), _use_prebuilt=False)


def _leaving_early(schema: Any) -> Any:
    if type(schema) in (list, tuple):
        return type(schema)(map(_leaving_early, schema))
    if type(schema) is not dict:
        return schema
    inner = {name: _inside(name, value) for name, value in schema.items()}
    return inner | {"fail_fast": True} if inner.get("type") in _CONTAINERS else inner


def _inside(name: str, value: Any) -> Any:
    if name in _NO_SCHEMA:
        return value
    if name in _BY_NAME and type(value) is dict:
        return {key: _leaving_early(schema) for key, schema in value.items()}
    return _leaving_early(value)
