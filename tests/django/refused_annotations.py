"""Annotations that are refused where something is declared, and what the error advises."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

from django.contrib.auth.models import AnonymousUser, User
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from pydantic import Field

from mcpsite.shop.models import Product
from tests.django import kinds

LAZY: Any = _("Password")

NEVER_RETURNED = {
    "memoryview": memoryview,
    "slice": slice,
    "type": type,
    "type of a number": type[int],
    "Final": typing.Final[int],
    "ClassVar": typing.ClassVar[int],
    "Callable": Callable[[], int],
    "Self": typing.Self,
    "Never": typing.Never,
    "class without hints": kinds.Opaque,
    "list of such": list[kinds.Opaque],
    "such by name": dict[str, kinds.Opaque],
    "such or None": kinds.Opaque | None,
    "such or text": kinds.Opaque | str,
    "namespace": types.SimpleNamespace,
    "exception": Exception,
    "Paginator": Paginator,
    "pydantic model with a model": kinds.Holder,
    "type of a model": type[Product],
}
RESPONSES = {"HttpResponse": HttpResponse, "list of JsonResponse": list[JsonResponse], "or None": HttpResponse | None}
GENERATORS = {"AsyncIterator": AsyncIterator[int], "AsyncGenerator": typing.AsyncGenerator[int, None]}

# What is no type, and what to write in its place.
NO_TYPES = {
    "list": ([str], r"\[<class 'str'>\], which is not a type. Use list\[str\]"),
    "list of two": ([str, int], r"which is not a type. Use list\[str \| int\]"),
    "tuple": ((int, str), r"which is not a type. Use tuple\[int, str\]"),
    "dict": ({"a": int}, r"which is not a type. Use dict\[str, Any\], or a TypedDict with these members"),
    "schema of pydantic": ({"type": "int"}, r"which is not a type. Use dict\[str, Any\], or a TypedDict with .*"),
    "number": (5, "5, which is not a type. Use a type, such as int"),
    "empty list": ([], "which is not a type. Use a type, such as int"),
}
# What pydantic cannot build, and the line of its error that says why.
WRONGLY_BUILT = {
    "look-around": (Annotated[str, Field(pattern=r"^(?!x)[a-z]+$")], "look-around, .*, is not supported"),
    "pattern": (Annotated[str, Field(pattern="(")], "unclosed group"),
    "lazy pattern": (Annotated[str, Field(pattern=LAZY)], "Invalid pattern, must be str or .*"),
    "limit": (Annotated[int, Field(gt="a")], ".*'gt' must be coercible to an integer"),
    "length": (Annotated[str, Field(max_length=-1)], ".*can't convert negative int to unsigned"),
    "within": (list[Annotated[str, Field(pattern="(")]], "unclosed group"),
    "extra that fails": (Annotated[int, Field(json_schema_extra=kinds.failing)], "it fails"),
    "type that fails": (kinds.Failing, "it fails"),
    "discriminator": (Annotated[kinds.Plain | kinds.Loose, Field(discriminator="z")], "Model 'Plain' needs a .*"),
    "undefined name": (kinds.Undefined, "a name in its annotations cannot be resolved. Import it at run time, .*"),
}

_PLAIN_DATA = "Use plain data, a dataclass or a pydantic model"
# What cannot be a parameter, and what to write in its place.
ADVICE = {
    "request": (HttpRequest, "Use a context parameter, as in ctx: Context, and ctx.request"),
    "user": (User, "Use a context parameter, as in ctx: Context, and ctx.user, or the primary key of another user"),
    "user or None": (User | None, "and ctx.user, or the primary key of another user"),
    "anonymous user": (AnonymousUser, "and ctx.user, or the primary key of another user"),
    "model": (Product, "Use its primary key, as in product_id: int, and get the object in the function"),
    "models": (list[Product], "Use its primary key, as in product_id: int, and get the object in the function"),
    "queryset": (QuerySet[Product], r"Use primary keys, as in ids: list\[int\], and get the objects in the function"),
    "text of templates": (SafeString, _PLAIN_DATA),
    "class": (kinds.Opaque, _PLAIN_DATA),
    "function": (Callable[[], int], _PLAIN_DATA),
    "class of classes": (type, _PLAIN_DATA),
    "iterator": (Iterator[int], _PLAIN_DATA),
    "own class": (typing.Self, _PLAIN_DATA),
    "member of an enum": (Literal[kinds.Color.RED], "use the enum, or a Literal of their values"),
}
if sys.version_info < (3, 12):
    ADVICE["TypedDict"] = (list[kinds.Members], "Use TypedDict from typing_extensions, which pydantic needs .*")
