"""@completion: one function completes arguments, a hundred values at a time."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_types import Completion

from mcp_transport import completion
from tests.django.declared import each_era, each_mode, later, response
from tests.support.calls import error_of, result_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

PRAISE = {"ref": {"type": "ref/prompt", "name": "praise"}, "argument": {"name": "thing", "value": "t"}}
BLAME = {**PRAISE, "ref": {"type": "ref/prompt", "name": "blame"}}


@each_mode
async def test_completion_answers_and_is_offered(is_async: bool, serve: Serve) -> None:
    def answer(ref: Any, argument: Any, context: Any) -> Completion | None:
        return Completion(values=[argument.value + "ea"], total=1) if ref.name == "praise" else None

    function = later(answer) if is_async else answer
    assert completion(function) is function
    completed = (await result_of(serve(), "completion/complete", PRAISE))["completion"]
    assert completed == {"values": ["tea"], "total": 1}
    assert (await result_of(serve(), "completion/complete", BLAME))["completion"]["values"] == []
    assert "completions" in (await result_of(serve(), "server/discover"))["capabilities"]


async def test_without_completion_none_is_offered(serve: Serve) -> None:
    assert "completions" not in (await result_of(serve(), "server/discover"))["capabilities"]
    assert (await error_of(serve(), "completion/complete", PRAISE))["code"] == -32601


@each_era
@pytest.mark.parametrize(
    ("count", "total", "has_more", "sent"),
    [
        (99, None, None, (99, None, None)),
        (100, None, None, (100, None, None)),
        (101, None, None, (100, 101, True)),
        (250, None, None, (100, 250, True)),
        (250, 4000, False, (100, 4000, True)),
        (2, 4000, True, (2, 4000, True)),
    ],
)
async def test_a_hundred_values_are_sent_and_it_is_said_of_how_many(
    count: int, total: int | None, has_more: bool | None, sent: tuple[Any, ...], era: str, serve: Serve
) -> None:
    values = [str(number) for number in range(count)]

    @completion
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=values, total=total, has_more=has_more)

    result = (await response(serve(), era, "completion/complete", PRAISE))["result"]["completion"]
    assert result["values"] == values[:100]
    assert (len(result["values"]), result.get("total"), result.get("hasMore")) == sent
