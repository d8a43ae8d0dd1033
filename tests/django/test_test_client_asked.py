"""The client for tests when it is asked: forms for the user, words of a model, folders; in both eras."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from mcp_transport.test import MCPClient
from tests.django.tested_tools import declare

pytestmark = pytest.mark.django_db

both_eras = pytest.mark.parametrize("session", [False, True], ids=["2026-07-28", "2025-11-25"])


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


@both_eras
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"sure": True}, "accept True"),
        ({"sure": False}, "accept False"),
        ("decline", "decline"),
        ("cancel", "cancel"),
        (lambda message, schema: {"sure": message == "Sure?" and "sure" in schema["properties"]}, "accept True"),
        (lambda message, schema: "decline", "decline"),
    ],
)
def test_question_to_the_user_is_answered(session: bool, answer: Any, said: str) -> None:
    with MCPClient(session=session, elicit=answer) as client:
        assert client.call("confirm").result == said
        assert client.call("confirm").result == said


@both_eras
def test_answer_may_be_a_coroutine(session: bool) -> None:
    async def answer(message: str, schema: Any) -> Any:
        return {"sure": True}

    with MCPClient(session=session, elicit=answer) as client:
        assert client.call("confirm").result == "accept True"


@both_eras
def test_answering_function_sees_the_transaction(session: bool) -> None:
    Group.objects.create(name="a")

    def answer(message: str, schema: Any) -> Any:
        return {"sure": Group.objects.count() == 1}

    with MCPClient(session=session, elicit=answer) as client:
        assert client.call("confirm").result == "accept True"


def answer_with_a_query(message: str, schema: Any) -> Any:
    return {"sure": not Group.objects.exists()}


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


@both_eras
def test_question_without_a_prepared_answer_fails_the_test(session: bool) -> None:
    with MCPClient(session=session) as client:
        with pytest.raises(AssertionError, match=r"asked the user 'Sure\?', but the test has prepared no answer"):
            client.call("confirm")
        assert client.call("add", a=1, b=1).result == 2


@both_eras
def test_what_an_answering_function_raises_fails_the_test(session: bool) -> None:
    def answer(message: str, schema: Any) -> Any:
        raise LookupError(message)

    with MCPClient(session=session, elicit=answer) as client:
        with pytest.raises(LookupError, match="Sure"):
            client.call("confirm")
        assert client.call("add", a=1, b=1).result == 2


@both_eras
def test_answer_that_is_none_is_refused(session: bool) -> None:
    with (
        MCPClient(session=session, elicit="yes") as client,
        pytest.raises(AssertionError, match="as the user's answer, got 'yes'"),
    ):
        client.call("confirm")


@both_eras
def test_client_that_cannot_be_asked_is_not_asked(session: bool) -> None:
    with MCPClient(session=session, elicit=False) as client:
        assert "elicitation" in client.call("confirm").assert_error().error


@both_eras
@pytest.mark.parametrize(
    "words",
    ["Words.", lambda params: f"{'Words.' if params['maxTokens'] == 9 else params}", ["Words."]],
    ids=["text", "function", "list"],
)
def test_model_and_folders_answer(session: bool, words: Any) -> None:
    roots = ["file:///a", {"uri": "file:///b", "name": "b"}]
    with MCPClient(session=session, sample=words, roots=roots) as client:
        assert client.call("write").result == "Words. ['file:///a', 'file:///b']"


@both_eras
def test_model_answers_with_a_whole_result(session: bool) -> None:
    whole = {"model": "other", "content": {"type": "text", "text": "Words."}}
    with MCPClient(session=session, sample=whole, roots=[]) as client:
        assert client.call("write").result == "Words. []"
        client._answers.roots = None
        with pytest.raises(AssertionError, match=r"no answer: MCPClient\(roots="):
            client.call("write")


def test_tool_that_asks_for_ever_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="asked 50 times"):
        MCPClient(elicit={"sure": True}).call("ask_for_ever")
