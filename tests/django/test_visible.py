"""`visible` in all the forms that a function may have: what it does not permit is hidden."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from mcp_transport import tool
from mcp_transport.domain.principal import Principal
from tests.support.calls import result_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


async def answers(principal: Principal, answer: Any) -> Any:
    return answer


class Called:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def __call__(self, principal: Principal) -> Any:
        return self.answer

    async def method(self, principal: Principal) -> Any:
        return self.answer


def wrapped(answer: Any) -> Callable[[Principal], Any]:
    async def request_of(principal: Principal) -> Any:
        return answer

    @functools.wraps(request_of)
    def wrapper(principal: Principal) -> Any:
        return request_of(principal)

    return wrapper


FORMS: dict[str, Callable[[Any], Callable[[Principal], Any]]] = {
    "function": lambda answer: lambda principal: answer,
    "partial of a coroutine function": lambda answer: functools.partial(answers, answer=answer),
    "function that returns a coroutine": lambda answer: lambda principal: answers(principal, answer),
    "object with an asynchronous call": Called,
    "asynchronous method": lambda answer: Called(answer).method,
    "wrapper of a coroutine function": wrapped,
    "sync_to_async": lambda answer: sync_to_async(lambda principal: answer),
}


ANSWERS = [
    (1, True),
    (0, False),
    (None, False),
    ("no", False),
    ([False], False),
    (NotImplemented, False),
    ((item for item in [False]), False),
]


@pytest.mark.parametrize(
    ("form", "answer", "is_shown"),
    [
        *((form, answer, answer) for form in FORMS for answer in (True, False)),
        *(("function", answer, is_shown) for answer, is_shown in ANSWERS),
        *(("asynchronous method", answer, is_shown) for answer, is_shown in ANSWERS),
    ],
)
async def test_what_is_not_permitted_is_hidden(form: str, answer: Any, is_shown: bool, serve: Serve) -> None:
    tool(name="secret", visible=FORMS[form](answer))(lambda: "seen")
    names = [item["name"] for item in (await result_of(serve(), "tools/list"))["tools"]]
    assert ("secret" in names) is is_shown
