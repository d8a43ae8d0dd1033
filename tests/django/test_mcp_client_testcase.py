"""MCPClient where most projects test: in Django's test cases, with their transactions, settings and languages."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.test import TestCase, TransactionTestCase, modify_settings, override_settings
from django.utils import translation

from mcp_transport import signals
from mcp_transport.test import MCPClient
from tests.django.tested_tools import both_eras, declare

PLAIN = "tests.django.test_mcp_client_projects.Plain"


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


class TestCaseOfDjango(TestCase):
    """The client where most projects test."""

    ann: User
    logged_in: MCPClient
    asked: MCPClient

    @classmethod
    def setUpTestData(cls) -> None:
        Group.objects.create(name="of the class")
        cls.ann = User.objects.create_user("ann")
        cls.logged_in = MCPClient(user=cls.ann)
        with modify_settings(MIDDLEWARE={"append": PLAIN}):
            cls.asked = MCPClient(elicit=[{"sure": True}, "decline"])
            cls.asked.list_tools()

    def test_tool_sees_the_data_of_the_class(self) -> None:
        for session in (False, True):
            with MCPClient(session=session) as client:
                self.assertEqual(client.call("groups").result, ["of the class"])
                self.assertEqual(client.call("count_groups").result, 1)

    def test_what_a_tool_writes_is_rolled_back(self) -> None:
        self.logged_in.call("make_group", name="of the tool").assert_ok()
        self.assertEqual(Group.objects.count(), 2)

    test_what_a_tool_writes_is_rolled_back_each_time = test_what_a_tool_writes_is_rolled_back

    def test_user_of_the_class_is_logged_in(self) -> None:
        self.assertEqual(self.logged_in.call("whoami").result, "ann")

    def test_client_of_the_class_is_as_the_class_left_it(self) -> None:
        self.assertEqual(self.asked.call("confirm").result, "accept True")

    test_client_of_the_class_is_so_each_time = test_client_of_the_class_is_as_the_class_left_it

    def test_queries_of_tools_are_counted(self) -> None:
        for session in (False, True):
            with MCPClient(session=session) as client:
                client.call("add", a=1, b=1)
                for name in ("groups", "count_groups"):
                    with self.assertNumQueries(1):
                        client.call(name).assert_ok()
                for name in ("report_then_count", "report_from_a_thread"):
                    with self.assertNumQueries(2):
                        client.call(name).assert_ok()

    def test_settings_are_overridden(self) -> None:
        client = MCPClient()
        with self.settings(MCP_TRANSPORT={"AUTHENTICATORS": []}):
            self.assertEqual(client.call("whoami").status, 401)
        with override_settings(MCP_TRANSPORT={"PROTOCOL_VERSIONS": ["2025-06-18"]}):
            client.call("whoami").assert_error("2025-06-18")
        with modify_settings(MIDDLEWARE={"append": PLAIN}):
            self.assertEqual(MCPClient().call("whoami").headers["x-plain"], "1")
        client.call("whoami").assert_ok()

    async def test_asynchronous_methods_see_the_transaction(self) -> None:
        await Group.objects.acreate(name="of the method")
        for session in (False, True):
            async with MCPClient(session=session, user=self.ann) as client:
                for name in ("count_groups", "report_then_count", "report_from_a_thread"):
                    (await client.acall(name)).assert_ok()
                self.assertEqual((await client.acall("groups")).result, ["of the class", "of the method"])
                self.assertEqual((await client.acall("whoami")).result, "ann")

    async def test_synchronous_method_is_used_from_a_thread(self) -> None:
        for session in (False, True):
            client = MCPClient(session=session)
            for name in ("count_groups", "report_from_a_thread"):
                (await sync_to_async(client.call)(name)).assert_ok()
            await client.aclose()

    async def test_synchronous_method_in_asynchronous_code_names_the_other_one(self) -> None:
        with self.assertRaisesMessage(RuntimeError, "such as acall() for call()"):
            MCPClient().call("add", a=1, b=1)


class TransactionTestCaseOfDjango(TransactionTestCase):
    """The client where transactions are committed."""

    def test_clients_in_threads(self) -> None:
        Group.objects.create(name="a")
        results: list[Any] = []

        def ask(session: bool) -> None:
            with MCPClient(session=session) as client:
                results.extend(client.call("add", a=number, b=0).result for number in range(5))

        threads = [threading.Thread(target=ask, args=[number % 2 == 1]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(sorted(results), sorted([*range(5)] * 6))


@pytest.mark.django_db
@both_eras
def test_language_of_the_test_is_active_in_tools(session: bool) -> None:
    with MCPClient(session=session) as client, translation.override("de"):
        assert client.call("greet").result == ["de", "Ja"]
    with translation.override("fr"):
        assert MCPClient().call("greet").result == ["fr", "Oui"]


@pytest.mark.django_db
@both_eras
def test_signals_are_received_within_the_transaction_before_the_call_returns(session: bool) -> None:
    received: list[Any] = []

    def receive(event: Any, **kwargs: Any) -> None:
        received.append((type(event).__name__, threading.current_thread(), Group.objects.count()))

    observed = (signals.tool_called, signals.session_opened, signals.session_closed)
    for signal in observed:
        signal.connect(receive)
    try:
        with MCPClient(session=session) as client:
            client.call("make_group", name="a").assert_ok()
    finally:
        for signal in observed:
            signal.disconnect(receive)
    kinds = ["SessionOpened", "ToolCalled", "SessionClosed"] if session else ["ToolCalled"]
    assert received == [(kind, threading.current_thread(), 1) for kind in kinds]
