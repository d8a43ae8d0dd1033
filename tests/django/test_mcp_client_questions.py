"""MCPClient when it is asked: forms for the user, words of a model, folders; in both eras."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from mcp_transport.test import MCPClient
from tests.django.tested_tools import both_eras, declare

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


async def answer_later(message: str, schema: Any) -> Any:
    return {"sure": True}


def answer_with_a_query(message: str, schema: Any) -> Any:
    return {"sure": not Group.objects.exists()}


# What the test has prepared, and what the tool hears.
ANSWERS: dict[str, tuple[Any, str]] = {
    "form": ({"sure": True}, "accept True"),
    "form that says no": ({"sure": False}, "accept False"),
    "decline": ("decline", "decline"),
    "cancel": ("cancel", "cancel"),
    "function": (
        lambda message, schema: {"sure": message == "Sure?" and "sure" in schema["properties"]},
        "accept True",
    ),
    "function that declines": (lambda message, schema: "decline", "decline"),
    "coroutine function": (answer_later, "accept True"),
    "function that sees the transaction": (answer_with_a_query, "accept False"),
}


@both_eras
@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=ANSWERS)
def test_question_to_the_user_is_answered(session: bool, answer: Any, text: str) -> None:
    Group.objects.create(name="a")
    with MCPClient(session=session, elicit=answer) as client:
        assert [client.call("confirm").result for _ in range(2)] == [text] * 2


def test_synchronous_tool_is_answered_in_the_thread_in_which_it_waits() -> None:
    ann = User.objects.create_user("ann")
    with MCPClient(session=True, user=ann, elicit=answer_with_a_query) as client:
        assert client.call("confirm_from_a_thread").result == ["accept", "accept", "0"]
        assert client.call("add", a=1, b=1).result == 2


@pytest.mark.django_db(transaction=True)
async def test_synchronous_tool_of_an_asynchronous_test_is_answered() -> None:
    ann = await User.objects.acreate_user("ann")
    async with MCPClient(session=True, user=ann, elicit=answer_with_a_query) as client:
        assert (await client.acall("confirm_from_a_thread")).result == ["accept", "accept", "0"]


@both_eras
def test_list_of_answers_is_used_up(session: bool) -> None:
    with MCPClient(session=session, elicit=[{"sure": True}, "decline"]) as client:
        assert [client.call("confirm").result for _ in range(2)] == ["accept True", "decline"]
        with pytest.raises(AssertionError, match=r"asked the user 'Sure\?', but only 2 answers are prepared"):
            client.call("confirm")


def fail(message: str, schema: Any) -> Any:
    raise LookupError(message)


@both_eras
@pytest.mark.parametrize(
    ("answer", "error", "expected"),
    [
        (None, AssertionError, r"asked the user 'Sure\?', but the test has prepared no answer"),
        ("yes", AssertionError, "as the user's answer, got 'yes'"),
        (fail, LookupError, "Sure"),
    ],
)
def test_question_without_a_good_answer_fails_the_test(session: bool, answer: Any, error: Any, expected: str) -> None:
    with MCPClient(session=session, elicit=answer) as client:
        with pytest.raises(error, match=expected):
            client.call("confirm")
        assert client.call("add", a=1, b=1).result == 2


@both_eras
def test_client_that_cannot_be_asked_is_not_asked(session: bool) -> None:
    with MCPClient(session=session, elicit=False) as client:
        assert "elicitation" in str(client.call("confirm").assert_error().error)


@both_eras
@pytest.mark.parametrize(
    "sample",
    [
        "Words.",
        lambda params: f"{'Words.' if params['maxTokens'] == 9 else params}",
        ["Words."],
        {"model": "other", "content": {"type": "text", "text": "Words."}},
    ],
    ids=["text", "function", "list", "whole result"],
)
def test_model_and_folders_answer(session: bool, sample: Any) -> None:
    roots: list[Any] = ["file:///a", {"uri": "file:///b", "name": "b"}]
    with MCPClient(session=session, sample=sample, roots=roots) as client:
        assert client.call("write").result == "Words. ['file:///a', 'file:///b']"
    with (
        MCPClient(session=session, sample=sample) as client,
        pytest.raises(AssertionError, match=r"no answer: MCPClient\(roots="),
    ):
        client.call("write")


def test_tool_that_asks_for_ever_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="asked for input 50 times"):
        MCPClient(elicit={"sure": True}).call("ask_for_ever")
