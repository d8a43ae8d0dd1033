"""Classes of the kinds that functions return and take."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import typing
from typing import Any, NamedTuple, NewType, TypeVar

import attrs
import typing_extensions
from django.db import models
from django.utils.translation import gettext_lazy as _
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
)

from mcpsite.shop.models import Product

T = TypeVar("T")


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Line:
    start: Point
    end: Point


@dataclasses.dataclass
class Tree:
    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Sale:
    product: Product
    label: str
    color: Color


@attrs.define
class Size:
    x: int


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    A = "a"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Status(models.TextChoices):
    OPEN = "open", _("Open")


class Number(models.IntegerChoices):
    ONE = 1, _("One")


class Members(typing.TypedDict):
    a: int


class Perhaps(typing_extensions.TypedDict, total=False):
    a: int
    b: typing_extensions.Required[str]


class Offer(typing_extensions.TypedDict):
    product: Product
    note: typing_extensions.NotRequired[str]


class Place(NamedTuple):
    shelf: int
    name: str


class Pair(NamedTuple):
    product: Product
    count: int


class Plain(BaseModel):
    a: int


class Alias(BaseModel):
    origin: int = Field(alias="from")


class Computed(BaseModel):
    a: int

    @computed_field
    @property
    def b(self) -> int:
        return self.a + 1


class Secret(BaseModel):
    word: SecretStr


class Loose(BaseModel):
    anything: Any


class Kin(BaseModel):
    kin: list[Kin] = []


class Box(BaseModel, typing.Generic[T]):
    item: T


class Numbers(RootModel[list[int]]):
    pass


class Prices(RootModel[dict[str, int]]):
    pass


class Hinted:
    x: int

    def __init__(self, x: int) -> None:
        self.x = x


class Opaque:
    pass


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    product: Product


class Basket(dict[str, int]):
    pass


def failing(*arguments: Any) -> Any:
    raise RuntimeError("it fails\nin two lines")


class Failing:
    __get_pydantic_core_schema__ = classmethod(failing)


class Undefined(BaseModel):
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


UserId = NewType("UserId", int)
Ids = typing_extensions.TypeAliasType("Ids", list[int])
Products = typing_extensions.TypeAliasType("Products", list[Product])
Json = typing_extensions.TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")
