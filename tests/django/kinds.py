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
    field_serializer,
    model_serializer,
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
    number: int


class Plain(BaseModel):
    a: int


class Alias(BaseModel):
    origin: int = Field(alias="from")


class Computed(BaseModel):
    a: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
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


class Yearly(BaseModel):
    when: datetime.date

    @field_serializer("when")
    def written(self, value: datetime.date) -> int:
        return value.year


class Shown(BaseModel):
    a: int

    @field_serializer("a")
    def written(self, value):  # type: ignore[no-untyped-def]
        return str(value)


class Renamed(BaseModel):
    a: int

    @model_serializer
    def written(self) -> dict[str, int]:
        return {"z": self.a}


class Untyped(BaseModel):
    a: int

    @model_serializer
    def written(self):  # type: ignore[no-untyped-def]
        return {"z": self.a}


class Worded(BaseModel):
    a: int

    @model_serializer
    def written(self) -> str:
        return str(self.a)


class Aliased(BaseModel):
    a: int = Field(validation_alias="aa", serialization_alias="A")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


@dataclasses.dataclass
class Labelled:
    label: str = _("Password")  # type: ignore[assignment]  # lazy


class ReadOnlyOffer(typing_extensions.TypedDict):
    product: typing_extensions.ReadOnly[Product]


Noted = typing.Annotated[Product, "x"]


class PerhapsOffer(typing_extensions.TypedDict):
    product: typing_extensions.NotRequired[Noted]


class Scalar:
    """A number, or an array, as those of numpy are."""

    dtype = "number"

    def __init__(self, value: Any) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value


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
