"""Parameters as the SDK can publish them: their texts made, their aliases known."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

from django.utils.functional import Promise
from pydantic import Field
from pydantic.fields import FieldInfo

from mcp_transport.exceptions import DefinitionError

__all__ = ["aliases", "in_words", "with_texts"]

_TEXTS: Final = ("title", "description", "examples")


def in_words(parameter: inspect.Parameter) -> inspect.Parameter:
    """Make a parameter's translations that were put off, and move a default of `Field` to its annotation."""
    default, hint = parameter.default, parameter.annotation
    if isinstance(default, FieldInfo):
        hint = Annotated[Any if hint is inspect.Parameter.empty else hint, default]
        default = inspect.Parameter.empty if default.is_required() or default.default_factory else default.default
    elif isinstance(default, Promise):
        default = str(default)
    for info in list(_infos(hint)):
        made = {name: with_texts(getattr(info, name)) for name in _TEXTS}
        if any(value is not getattr(info, name) for name, value in made.items()):
            hint = Annotated[hint, Field(**made)]
    return parameter.replace(annotation=hint, default=default)


def aliases(parameters: Iterable[inspect.Parameter]) -> dict[str, str]:
    """Return the parameters that are passed by another name.

    Raises:
        DefinitionError: two are passed by the same one.
    """
    known: dict[str, str] = {}
    for parameter in parameters:
        alias = next((info.alias for info in reversed(list(_infos(parameter.annotation))) if info.alias), None)
        passed = alias or parameter.name
        if passed in known:
            raise DefinitionError(
                f"the parameters {known[passed]} and {parameter.name} are both passed as {passed!r}"
            )
        known[passed] = parameter.name
    return {alias: name for alias, name in known.items() if alias != name}


def _infos(hint: Any) -> Iterator[FieldInfo]:
    if typing.get_origin(hint) is Annotated:
        yield from (item for item in typing.get_args(hint)[1:] if isinstance(item, FieldInfo))


def with_texts(value: Any) -> Any:
    """Return plain data with translations that were put off made now; the same object where there are none."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, dict):
        members = {with_texts(name): with_texts(item) for name, item in value.items()}
        is_same = all(name in value and value[name] is item for name, item in members.items())
        return value if is_same else members
    if isinstance(value, list | tuple):
        items = [with_texts(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
