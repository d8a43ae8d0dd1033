"""One table of annotations: what is returned or taken, what is sent for it, and where the SDK's server differs.

What is refused is in `refused_annotations`.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import re
import sys
import types
import typing
import uuid
from collections.abc import (
    Awaitable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
)
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from django.core.paginator import Page, Paginator
from django.db import models
from django.db.models import Manager, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.query import RawQuerySet
from django.forms.utils import ErrorDict, ErrorList
from django.http import QueryDict
from django.urls import reverse_lazy
from django.utils.functional import Promise, SimpleLazyObject, lazy, lazystr
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from pydantic import (
    AwareDatetime,
    EmailStr,
    Field,
    HttpUrl,
    Json,
    JsonValue,
    PlainSerializer,
    PositiveInt,
    Secret,
    SecretStr,
)

from mcpsite.shop.models import Product
from tests.django import kinds

NO_SCHEMA = "the SDK publishes no schema for it, and sends text"
DJANGO = "the SDK knows nothing of Django"
REFUSED = "the SDK refuses it with pydantic's words"
BEFORE_312 = "" if sys.version_info >= (3, 12) else "before Python 3.12 the SDK refuses it"
SLOTS = "the SDK takes a slot for a default"
LAZY = "the SDK does not read what is lazy"
WRITTEN = "the SDK publishes the schema of what is read, not that of what is written"
ELSEWHERE = "pydantic looks for the value elsewhere"

MUG = Product(id=1, sku="mug", name="Mug", price="7.50", stock=3)
SENT_MUG = {"id": 1, "sku": "mug", "name": "Mug", "description": "", "price": "7.50", "stock": 3}
WHEN = datetime.datetime(2026, 11, 29, 9, 30, tzinfo=datetime.UTC)
ID = uuid.UUID(int=7)


ZONES = {"a": "Europe/Berlin", "UTC": "UTC"}
OPEN = {"a": 1, "b": "Password", "c": SENT_MUG}
LAZY_LIST, LAZY_BYTES = lazy(lambda: ["a"], list)(), lazy(lambda: b"b", bytes)()
PASSWORD: Any = _("Password")
ANONYMOUS: Any = None
LAZY_DICT = lazy(lambda: {"a": 1}, dict)()


class Row(NamedTuple):
    """An annotation, a value of it, its JSON, and in which way the SDK's server differs, if it does."""

    kind: Any
    value: Any
    sent: Any
    differs: str = ""


RETURNED = {
    # builtins
    "dict": Row(dict, {"a": 1}, {"a": 1}, NO_SCHEMA),
    "dict with models": Row(dict, {"a": MUG, 1: 2}, {"a": SENT_MUG, "1": 2}, NO_SCHEMA),
    "dict with other keys": Row(dict, {WHEN.date(): 1, kinds.Color.RED: 2}, {"2026-11-29": 1, "red": 2}, NO_SCHEMA),
    "empty dict": Row(dict, {}, {}, NO_SCHEMA),
    "list": Row(list, [1, MUG], [1, SENT_MUG], NO_SCHEMA),
    "tuple": Row(tuple, (1, "a"), [1, "a"], NO_SCHEMA),
    "set": Row(set, {1}, [1], NO_SCHEMA),
    "frozenset": Row(frozenset, frozenset({1}), [1], NO_SCHEMA),
    "int": Row(int, 1, 1),
    "int beyond 64 bits": Row(int, 10**30, 10**30),
    "bool": Row(bool, True, True),
    "float": Row(float, 1.5, 1.5),
    "str": Row(str, "a", "a"),
    "half a character": Row(str, "a\udcff", "a\ufffd"),
    "None": Row(None, None, None),
    "bytes": Row(bytes, b"ab", "ab"),
    "bytearray": Row(bytearray, bytearray(b"ab"), "ab", NO_SCHEMA),
    "complex": Row(complex, 1 + 2j, "1+2j", NO_SCHEMA),
    "range": Row(range, range(2), [0, 1], NO_SCHEMA),
    "subclass of dict": Row(kinds.Basket, kinds.Basket(a=1), {"a": 1}, NO_SCHEMA),
    # typing
    "Optional": Row(typing.Optional[int], None, None),  # noqa: UP045
    "Union": Row(int | str, "a", "a"),
    "Literal": Row(Literal["a", 1], "a", "a"),
    "Literal of a member": Row(Literal[kinds.Color.RED], kinds.Color.RED, "red"),
    "Annotated": Row(Annotated[int, Field(ge=0)], 3, 3),
    "NewType": Row(kinds.UserId, 3, 3),
    "TypeVar": Row(kinds.T, 1, 1),
    "text": Row("int | None", 3, 3),
    "LiteralString": Row(typing.LiteralString, "a", "a", REFUSED),
    "alias": Row(kinds.Ids, [1], [1]),
    "alias of models": Row(kinds.Products, [MUG], [SENT_MUG], DJANGO),
    "recursive alias": Row(kinds.Json, {"a": [1]}, {"a": [1]}),
    "Mapping": Row(Mapping, {"a": decimal.Decimal(1)}, {"a": "1"}, NO_SCHEMA),
    "Mapping of numbers": Row(Mapping[str, int], {"a": 1}, {"a": 1}),
    "Sequence": Row(Sequence, (1, 2), [1, 2], NO_SCHEMA),
    "Sequence of numbers": Row(Sequence[int], (1, 2), [1, 2]),
    "Iterable": Row(Iterable[int], [1], [1]),
    "Iterator": Row(Iterator[int], (1, 2), [1, 2], REFUSED),
    "Generator": Row(Generator[int, None, None], [1], [1]),
    "Collection": Row(Collection[int], [1], [1], REFUSED),
    "keys": Row(KeysView[str], {"a": 1}.keys(), ["a"], REFUSED),
    "map": Row(map, [1], [1], NO_SCHEMA),
    "Awaitable": Row(Awaitable[int], 1, 1, REFUSED),
    "pattern": Row(re.Pattern, re.compile("a"), "a", NO_SCHEMA),
    "dict with numbers for keys": Row(dict[int, str], {1: "a"}, {"1": "a"}),
    "dict with pairs for keys": Row(dict[tuple[int, int], int], {(1, 2): 1}, {"1,2": 1}),
    "models with numbers for keys": Row(dict[int, Product], {1: MUG}, {"1": SENT_MUG}, DJANGO),
    "bare Iterable": Row(Iterable, [1, 2], [1, 2], NO_SCHEMA),
    # collections
    "OrderedDict": Row(collections.OrderedDict, collections.OrderedDict(a=1), {"a": 1}, NO_SCHEMA),
    "Counter": Row(collections.Counter, collections.Counter("aab"), {"a": 2, "b": 1}, NO_SCHEMA),
    "defaultdict": Row(collections.defaultdict[str, int], collections.defaultdict(int, a=1), {"a": 1}),
    "deque": Row(collections.deque, collections.deque([1]), [1], NO_SCHEMA),
    "deque of numbers": Row(collections.deque[int], collections.deque([1]), [1]),
    "ChainMap": Row(collections.ChainMap, collections.ChainMap({"a": 1}), {"a": 1}, NO_SCHEMA),
    "UserDict": Row(collections.UserDict, collections.UserDict({"a": 1}), {"a": 1}, NO_SCHEMA),
    "UserList": Row(collections.UserList, collections.UserList([1]), [1], NO_SCHEMA),
    "MappingProxyType": Row(types.MappingProxyType, types.MappingProxyType({"a": 1}), {"a": 1}, NO_SCHEMA),
    # classes with members
    "NamedTuple": Row(kinds.Place, kinds.Place(1, "a"), [1, "a"], NO_SCHEMA),
    "list of NamedTuple": Row(list[kinds.Place], [kinds.Place(1, "a")], [[1, "a"]]),
    "NamedTuple with a model": Row(kinds.Pair, kinds.Pair(MUG, 1), [SENT_MUG, 1], DJANGO),
    "TypedDict": Row(kinds.Members, {"a": 1}, {"a": 1}),
    "TypedDict in a list": Row(list[kinds.Members], [{"a": 1}], [{"a": 1}], BEFORE_312),
    "TypedDict with members that may be missing": Row(kinds.Perhaps, {"b": "a"}, {"b": "a"}),
    "TypedDict with a model": Row(kinds.Offer, {"product": MUG}, {"product": SENT_MUG}, DJANGO),
    "dataclass": Row(kinds.Point, kinds.Point(1), {"x": 1, "when": None}),
    "dataclass or None": Row(kinds.Point | None, None, None),
    "dataclasses by name": Row(dict[str, kinds.Point], {"a": kinds.Point(1)}, {"a": {"x": 1, "when": None}}),
    "dataclass with slots": Row(kinds.Frozen, kinds.Frozen(1), {"x": 1, "tags": []}, SLOTS),
    "dataclass in a dataclass": Row(
        kinds.Line,
        kinds.Line(kinds.Point(1), kinds.Point(2)),
        {"start": {"x": 1, "when": None}, "end": {"x": 2, "when": None}},
    ),
    "recursive dataclass": Row(
        kinds.Tree, kinds.Tree("a", [kinds.Tree("b")]), {"name": "a", "children": [{"name": "b", "children": []}]}
    ),
    "dataclass with a model": Row(
        kinds.Sale,
        kinds.Sale(MUG, PASSWORD, kinds.Color.RED),
        {"product": SENT_MUG, "label": "Password", "color": "red"},
        DJANGO,
    ),
    "dataclasses with a model": Row(
        list[kinds.Sale],
        [kinds.Sale(MUG, "a", kinds.Color.RED)],
        [{"product": SENT_MUG, "label": "a", "color": "red"}],
        DJANGO,
    ),
    "attrs": Row(kinds.Size, kinds.Size(1), {"x": 1}, SLOTS),
    "list of attrs": Row(list[kinds.Size], [kinds.Size(1)], [{"x": 1}], REFUSED),
    "class with hints": Row(kinds.Hinted, kinds.Hinted(1), {"x": 1}),
    # enums
    "Enum": Row(kinds.Color, kinds.Color.RED, "red", NO_SCHEMA),
    "Enum or None": Row(kinds.Color | None, kinds.Color.RED, "red"),
    "IntEnum": Row(kinds.Level, kinds.Level.HIGH, 3, NO_SCHEMA),
    "StrEnum": Row(kinds.Word, kinds.Word.A, "a", NO_SCHEMA),
    "Flag": Row(kinds.Right, kinds.Right.READ | kinds.Right.WRITE, 3, NO_SCHEMA),
    "list of Flag": Row(list[kinds.Right], [kinds.Right(3)], [3], "the SDK publishes an enum without combinations"),
    "TextChoices": Row(kinds.Status, kinds.Status.OPEN, "open", NO_SCHEMA),
    "IntegerChoices": Row(kinds.Number, kinds.Number.ONE, 1, NO_SCHEMA),
    "dict with members for keys": Row(dict[kinds.Color, int], {kinds.Color.RED: 1}, {"red": 1}),
    # values
    "Decimal": Row(decimal.Decimal, decimal.Decimal("7.50"), "7.50", NO_SCHEMA),
    "annotated Decimal": Row(
        Annotated[decimal.Decimal, Field(description="Euro.")], decimal.Decimal("7.50"), "7.50", NO_SCHEMA
    ),
    "Decimal or None": Row(decimal.Decimal | None, decimal.Decimal(1), "1", WRITTEN),
    "Fraction": Row(fractions.Fraction, fractions.Fraction(1, 2), "1/2", NO_SCHEMA),
    "date": Row(datetime.date, WHEN.date(), "2026-11-29", NO_SCHEMA),
    "datetime": Row(datetime.datetime, WHEN, "2026-11-29T09:30:00Z", NO_SCHEMA),
    "time": Row(datetime.time, WHEN.time(), "09:30:00", NO_SCHEMA),
    "timedelta": Row(datetime.timedelta, datetime.timedelta(hours=1), "PT1H", NO_SCHEMA),
    "UUID": Row(uuid.UUID, ID, str(ID), NO_SCHEMA),
    "dict with UUIDs for keys": Row(dict[uuid.UUID, int], {ID: 1}, {str(ID): 1}),
    "Path": Row(pathlib.Path, pathlib.Path("/a"), "/a", NO_SCHEMA),
    "address": Row(ipaddress.IPv4Address, ipaddress.ip_address("10.0.0.1"), "10.0.0.1", NO_SCHEMA),
    "network": Row(ipaddress.IPv6Network, ipaddress.ip_network("::/8"), "::/8", NO_SCHEMA),
    # pydantic
    "model of pydantic": Row(kinds.Plain, kinds.Plain(a=1), {"a": 1}),
    "model of pydantic or None": Row(kinds.Plain | None, kinds.Plain(a=1), {"a": 1}),
    "models of pydantic": Row(list[kinds.Plain], [kinds.Plain(a=1)], [{"a": 1}]),
    "member with an alias": Row(kinds.Alias, kinds.Alias(**{"from": 1}), {"from": 1}),
    "computed member": Row(kinds.Computed, kinds.Computed(a=1), {"a": 1, "b": 2}, WRITTEN),
    "secret member": Row(kinds.Secret, kinds.Secret(word="a"), {"word": "**********"}),
    "member of any type": Row(
        kinds.Loose, kinds.Loose(anything=[MUG, _("Password")]), {"anything": [SENT_MUG, "Password"]}, DJANGO
    ),
    "recursive model of pydantic": Row(kinds.Kin, kinds.Kin(kin=[kinds.Kin()]), {"kin": [{"kin": []}]}),
    "generic model": Row(kinds.Box[int], kinds.Box[int](item=1), {"item": 1}),
    "root of a list": Row(kinds.Numbers, kinds.Numbers([1]), [1], "in 2025 the SDK has no list for it"),
    "root of an object": Row(kinds.Prices, kinds.Prices({"a": 1}), {"a": 1}),
    "root in a list": Row(list[kinds.Numbers], [kinds.Numbers([1])], [[1]]),
    "secret": Row(SecretStr, SecretStr("a"), "**********", "the SDK sends an empty object"),
    "EmailStr": Row(EmailStr, "a@example.com", "a@example.com", NO_SCHEMA),
    "HttpUrl": Row(HttpUrl, HttpUrl("http://a.b/"), "http://a.b/", "the SDK sends an empty object"),
    "AwareDatetime": Row(AwareDatetime, WHEN, "2026-11-29T09:30:00Z", NO_SCHEMA),
    "JsonValue": Row(JsonValue, {"a": 1}, {"a": 1}),
    "PositiveInt": Row(PositiveInt, 3, 3),
    # Django
    "model": Row(Product, MUG, SENT_MUG, DJANGO),
    "model or None": Row(Product | None, None, None, DJANGO),
    "models": Row(list[Product], [MUG], [SENT_MUG], DJANGO),
    "set of models": Row(set[Product], {MUG}, [SENT_MUG], DJANGO),
    "models by name": Row(dict[str, Product], {"a": MUG}, {"a": SENT_MUG}, DJANGO),
    "model and number": Row(tuple[Product, int], (MUG, 1), [SENT_MUG, 1], DJANGO),
    "models of any number": Row(tuple[Product, ...], (MUG,), [SENT_MUG], DJANGO),
    "a model": Row(tuple[Product], (MUG,), [SENT_MUG], DJANGO),
    "model between others": Row(tuple[int, Product, str], (3, MUG, "a"), [3, SENT_MUG, "a"], DJANGO),
    "models and number": Row(tuple[list[Product], int], ([MUG], 1), [[SENT_MUG], 1], DJANGO),
    "model or None, and number": Row(tuple[Product | None, int], (None, 1), [None, 1], DJANGO),
    "models and numbers": Row(list[tuple[Product, int]], [(MUG, 1)], [[SENT_MUG, 1]], DJANGO),
    "models and numbers by name": Row(dict[str, tuple[Product, int]], {"a": (MUG, 1)}, {"a": [SENT_MUG, 1]}, DJANGO),
    "sequence of models": Row(Sequence[Product], [MUG], [SENT_MUG], DJANGO),
    "lists of models": Row(list[list[Product]], [[MUG]], [[SENT_MUG]], DJANGO),
    "lists of models by name": Row(dict[str, list[Product]], {"a": [MUG]}, {"a": [SENT_MUG]}, DJANGO),
    "models or None": Row(list[Product] | None, [MUG], [SENT_MUG], DJANGO),
    "annotated model": Row(Annotated[Product, "the best"], MUG, SENT_MUG, DJANGO),
    "Optional model": Row(typing.Optional[Product], MUG, SENT_MUG, DJANGO),  # noqa: UP045
    "Union with a model": Row(typing.Union[Product, kinds.Plain], MUG, SENT_MUG, DJANGO),  # noqa: UP007
    "tuple of numbers": Row(tuple[int, ...], (1, 2), [1, 2]),
    "any model": Row(models.Model, MUG, SENT_MUG, DJANGO),
    "model or model of pydantic": Row(kinds.Plain | Product, MUG, SENT_MUG, DJANGO),
    "model or text": Row(Product | str, "a", "a", DJANGO),
    "QuerySet": Row(QuerySet, [MUG], [SENT_MUG], DJANGO),
    "QuerySet of a model": Row(QuerySet[Product], Product.objects.none(), [], DJANGO),
    "QuerySet or None": Row(QuerySet[Product] | None, None, None, DJANGO),
    "rows": Row(list[dict[str, Any]], Product.objects.none().values(), []),
    "RawQuerySet": Row(RawQuerySet, [], [], DJANGO),
    "Manager": Row(Manager, [], [], DJANGO),
    "Page": Row(Page, Paginator([MUG], 2).page(1), [SENT_MUG], DJANGO),
    "Page or None": Row(Page | None, Paginator([MUG], 2).page(1), [SENT_MUG], DJANGO),
    "Page as a list": Row(list[Product], Paginator([MUG], 2).page(1), [SENT_MUG], DJANGO),
    "translation": Row(str, _("Password"), "Password", LAZY),
    "translations": Row(list[str], [_("Password")], ["Password"], LAZY),
    "translations by name": Row(dict[str, str], {"a": _("Password")}, {"a": "Password"}, LAZY),
    "Promise": Row(Promise, lazystr("a"), "a", DJANGO),
    "Promise or None": Row(Promise | None, lazystr("a"), "a", DJANGO),
    "reverse_lazy": Row(str, reverse_lazy("admin:index"), "/admin/", LAZY),
    "lazy object of a model": Row(Product, SimpleLazyObject(lambda: MUG), SENT_MUG, DJANGO),
    "lazy object of a text": Row(str, SimpleLazyObject(lambda: "a"), "a", LAZY),
    "lazy object of a number": Row(int, SimpleLazyObject(lambda: 1), 1, LAZY),
    "SafeString": Row(SafeString, mark_safe("a"), "a", NO_SCHEMA),
    "FieldFile": Row(FieldFile, FieldFile(ANONYMOUS, models.FileField(), "a.txt"), "a.txt", DJANGO),
    "FieldFile as a text": Row(str, FieldFile(ANONYMOUS, models.FileField(), "a.txt"), "a.txt", DJANGO),
    "QueryDict": Row(QueryDict, QueryDict("a=1&a=2"), {"a": ["1", "2"]}, DJANGO),
    # what is written is not what is read
    "member with a serializer": Row(kinds.Yearly, kinds.Yearly(when=WHEN.date()), {"when": 2026}, WRITTEN),
    "members with a serializer": Row(list[kinds.Yearly], [kinds.Yearly(when=WHEN.date())], [{"when": 2026}], WRITTEN),
    "member with a serializer without a type": Row(kinds.Shown, kinds.Shown(a=1), {"a": "1"}, WRITTEN),
    "model with a serializer": Row(kinds.Renamed, kinds.Renamed(a=1), {"z": 1}, WRITTEN),
    "model with a serializer without a type": Row(kinds.Untyped, kinds.Untyped(a=1), {"z": 1}, WRITTEN),
    "model that is written as a text": Row(kinds.Worded, kinds.Worded(a=1), "1", WRITTEN),
    "member with another alias": Row(kinds.Aliased, kinds.Aliased(aa=1), {"A": 1}, WRITTEN),
    "serializer": Row(Annotated[int, PlainSerializer(str, return_type=str)], 1, "1", WRITTEN),
    "JSON": Row(Json[list[int]], "[1]", [1], WRITTEN),
    "secret number": Row(Secret[int], Secret[int](1), "**********", WRITTEN),
    "secret numbers": Row(list[Secret[int]], [Secret[int](1)], ["**********"], WRITTEN),
    # where pydantic finds no value
    "errors of a form": Row(dict, ErrorDict(a=ErrorList(["b"])), {"a": ["b"]}, NO_SCHEMA),
    "errors of a form by name": Row(dict[str, list[str]], ErrorDict(a=ErrorList(["b"])), {"a": ["b"]}, DJANGO),
    "bytes of a bytearray": Row(bytes, bytearray(b"ab"), "ab"),
    "bytes of a memoryview": Row(bytes, memoryview(b"ab"), "ab", ELSEWHERE),
    "number of an array": Row(int, kinds.Scalar(3), 3, ELSEWHERE),
    "numbers of an array": Row(dict, {"a": kinds.Scalar([1.5]), kinds.Scalar(3): 1}, {"a": [1.5], "3": 1}, NO_SCHEMA),
    "time zones": Row(dict, {"a": ZoneInfo("Europe/Berlin"), datetime.UTC: datetime.UTC}, ZONES, NO_SCHEMA),
    "other members": Row(kinds.Open, kinds.Open(a=1, b=_("Password"), c=MUG), OPEN, DJANGO),
    "member that may only be read": Row(kinds.ReadOnlyOffer, {"product": MUG}, {"product": SENT_MUG}, DJANGO),
    "annotated member that may be missing": Row(kinds.PerhapsOffer, {"product": MUG}, {"product": SENT_MUG}, DJANGO),
    "lazy key": Row(dict, {_("Password"): {_("Password"): 1}}, {"Password": {"Password": 1}}, NO_SCHEMA),
    "lazy list": Row(list[str], lazy(lambda: ["a"], list)(), ["a"]),
    "lazy values": Row(
        dict, {"a": LAZY_LIST, "b": LAZY_BYTES, "c": LAZY_DICT}, {"a": ["a"], "b": "b", "c": {"a": 1}}, NO_SCHEMA
    ),
    "lazy default": Row(kinds.Labelled, kinds.Labelled(), {"label": "Password"}, LAZY),
    "lazy defaults": Row(list[kinds.Labelled], [kinds.Labelled()], [{"label": "Password"}], LAZY),
}


# The rows whose value an argument cannot be, or is of another class when it is read from its JSON.
_OTHERWISE = """
    dict with models, dict with other keys, list, half a character, range, text, LiteralString, Mapping, Sequence,
    Sequence of numbers, Iterable, Iterator, Generator, Collection, keys, map, Awaitable, dict with pairs for keys,
    Counter, ChainMap, UserDict, UserList, MappingProxyType, class with hints, attrs, list of attrs, secret,
    secret member, computed member, Flag, list of Flag, bytearray, TypedDict, TypedDict in a list,
    bare Iterable, subclass of dict, SafeString,
    int beyond 64 bits, rows, Literal of a member,
    member with a serializer, members with a serializer, member with a serializer without a type,
    model with a serializer, model with a serializer without a type, model that is written as a text,
    member with another alias, serializer, JSON, secret number, secret numbers, errors of a form,
    bytes of a bytearray, bytes of a memoryview, number of an array, numbers of an array, time zones, lazy key,
    lazy values, lazy list
"""
NOT_AS_IT_WAS = frozenset(name.strip() for name in _OTHERWISE.split(","))
_OF_DJANGO = (DJANGO, LAZY)
ACCEPTED = {
    name: row for name, row in RETURNED.items() if row.differs not in _OF_DJANGO and name not in NOT_AS_IT_WAS
}
