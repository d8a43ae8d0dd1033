"""The synchronous client: in scripts, in threads beside a loop, in many threads at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import SynchronousOnlyOperation

from mcp_transport.client import Client, EndpointsUnavailable, SyncClient
from tests.client.endpoints import refusing
from tests.client.servers import Served, sdk, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(sdk) as served:
        yield served


def use(url: str, text: str) -> str:
    with Client(url).sync() as client:
        assert [tool.name for tool in client.list_tools().tools] == ["act", "look", "put"]
        result = client.call_tool("act", {"text": text})
        assert result.structured_content is not None
        return str(result.structured_content["result"])


async def test_a_thread_beside_a_running_loop_may_use_it(served: Served) -> None:
    assert await asyncio.to_thread(use, served.url, "a") == "a"
    assert [thread.name for thread in threading.enumerate() if thread.name == "mcp-client"] == []


async def test_many_threads_may_share_one(served: Served) -> None:
    def share() -> list[str]:
        with Client(served.url).sync() as client, ThreadPoolExecutor(8) as threads:
            calls = threads.map(lambda number: client.call_tool("act", {"text": str(number)}), range(40))
            return [str((result.structured_content or {})["result"]) for result in calls]

    assert await asyncio.to_thread(share) == [str(number) for number in range(40)]
    assert len(served.runs) == 40


async def test_it_would_block_a_loop_and_says_so(served: Served) -> None:
    """The same error as Django's for this mistake."""
    with pytest.raises(SynchronousOnlyOperation, match="async with"), Client(served.url).sync():
        pass


def test_without_with_it_is_not_connected() -> None:
    with pytest.raises(RuntimeError, match="with Client"):
        Client("http://127.0.0.1:9/mcp").sync().list_tools()


async def test_errors_come_as_they_are() -> None:
    def fail(url: str) -> None:
        with Client(url, deadline=0.2).sync():
            pass

    async with refusing() as url:
        with pytest.raises(EndpointsUnavailable, match="ConnectError"):
            await asyncio.to_thread(fail, url)


async def test_an_error_in_the_block_comes_as_it_is(served: Served) -> None:
    def fail() -> None:
        with Client(served.url).sync():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await asyncio.to_thread(fail)


async def test_each_method_of_the_client_is_there_with_its_docs() -> None:
    asynchronous = {
        name
        for name in vars(Client.__mro__[1])
        if asyncio.iscoroutinefunction(getattr(Client, name)) and name[0] != "_"
    }
    deprecated = {"send_ping", "send_progress_notification", "set_logging_level", "send_roots_list_changed"}
    deprecated |= {"subscribe_resource", "unsubscribe_resource"}
    assert asynchronous - deprecated <= vars(SyncClient).keys() | {"listen"}
    assert SyncClient.call_tool.__doc__ == Client.call_tool.__doc__


@pytest.mark.slow
async def test_a_script_needs_no_settings(served: Served) -> None:
    script = (
        "from mcp_transport.client import Client\n"
        f"with Client({served.url!r}).sync() as client:\n"
        "    print(client.call_tool('act', {'text': 'from a script'}).structured_content['result'])\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin"},
    )
    assert (done.stdout, done.returncode) == ("from a script\n", 0), done.stderr
