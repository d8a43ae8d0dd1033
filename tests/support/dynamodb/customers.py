"""Processes and clients in several virtual regions, and what each of them notes."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp_types import LoggingMessageNotification, LoggingMessageNotificationParams

from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.clock import SystemClock
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel, register_session_handlers
from tests.support.client import Answer, SessionClient
from tests.support.dynamodb.regions import Machine, World, virtual_backend
from tests.support.tools import KEYS

LOST = 5.0
"""REGION_LOST_SECONDS."""
POLICY = Policy(lease=3.0, allowed_hosts=("localhost",), keepalive=2.0, stream_keep=120.0)
RETRY = 1.0


class DurableTool(Tool):
    durable: bool = True


class VirtualClock(SystemClock):
    """The time of the running loop."""

    def now(self) -> float:
        return 1e6 + asyncio.get_running_loop().time()

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


class Site:
    """Processes of several regions, which can be killed and started again."""

    def __init__(self, world: World, processes: int = 2) -> None:
        self.world = world
        self.processes = [ServerProcess(self, region) for region in world.regions for _ in range(processes)]
        self.runs = Counter[str]()
        """How often each call has begun."""
        self.ended = Counter[str]()
        """How often each call has returned."""
        self.events = defaultdict[str, set[str]](set)
        """By event id, the messages that it was sent with."""
        self.said = 0

    def of(self, *regions: str) -> list[ServerProcess]:
        """Return the processes of some regions."""
        return [process for process in self.processes if process.machine.region in regions]

    async def start(self) -> None:
        for process in self.processes:
            await process.start()

    def lose(self, region: str) -> None:
        """Lose the processes and the table of a region."""
        self.world.lose(region)
        for process in self.of(region):
            process.kill()

    async def bring_back(self, region: str) -> None:
        """Start a region again, with the table that it had."""
        self.world.bring_back(region)
        for process in self.of(region):
            if process.machine.is_dead:
                await process.start()

    def count(self, event: str) -> int:
        """Return how often the processes have counted a cluster event."""
        return sum(process.counted[event] + process.endpoint.observer.counts[event] for process in self.processes)


class ServerProcess:
    """A process: an endpoint with a node, on a machine that can be killed."""

    def __init__(self, site: Site, region: str) -> None:
        self.site, self.machine = site, Machine(region)
        self.counted = Counter[str]()
        self.endpoint: Endpoint

    async def start(self) -> None:
        if hasattr(self, "endpoint"):
            self.counted.update(self.endpoint.observer.counts)
        self.machine = Machine(self.machine.region)
        backend = virtual_backend(self.site.world, self.machine, POLICY, LOST)
        policy = replace(POLICY, region=self.region)
        self.endpoint = Endpoint(
            Kernel(self._tools(self.machine)), backend, policy, keys=KEYS, session_keys=KEYS, clock=VirtualClock()
        )
        await self.endpoint.pool.node()

    @property
    def region(self) -> str:
        return self.machine.region

    def kill(self) -> None:
        """End the process: its requests hang, its clients' sockets break."""
        self.machine.is_dead = True

    def _tools(self, machine: Machine) -> MCPServer[Any]:
        site = self.site
        server: MCPServer[Any] = MCPServer("regions", version="1")
        register_session_handlers(server)

        async def work(name: str, steps: int, ctx: Context) -> str:
            """Report progress."""
            if not machine.is_dead:
                site.runs[name] += 1
            for step in range(steps):
                await ctx.report_progress(step, steps)
                site.said += 1
                said = LoggingMessageNotification(
                    params=LoggingMessageNotificationParams(level="info", data=f"{name} {site.said}")
                )
                with suppress(Exception):  # the store may be away
                    await ctx.request_context.session.send_notification(said)
                await asyncio.sleep(0.4)
            if not machine.is_dead:
                site.ended[name] += 1
            return f"{name} done"

        server.add_tool(work, name="work")
        durable = server._tool_manager.get_tool("work")
        assert durable is not None
        server._tool_manager._tools["durably"] = DurableTool(**{**dict(durable), "name": "durably"})
        return server


class Customer:
    """A client that calls tools until it is stopped, wherever it is served."""

    def __init__(self, site: Site, name: str, nearest: list[str]) -> None:
        self.site, self.name = site, name
        self.nearest = nearest
        self.client = SessionClient(site.of(nearest[0])[0].endpoint)
        self.durable = set[str]()
        """The calls of a durable tool."""
        self.sent = Counter[str]()
        """How often the client has sent each call."""
        self.answers = dict[str, dict[str, Any]]()
        self.refused = Counter[int]()
        self.heard = 0
        self.answered_at = 0.0
        self.longest_wait = 0.0
        self.doing: tuple[Any, ...] = ()
        """The last request that it has sent, for the report of one that waits without end."""
        self._stopping = False

    @property
    def key(self) -> str:
        return session_key(self.client.session_id)

    def process(self) -> ServerProcess | None:
        """Return a process that lives, in the nearest region that has one."""
        for region in self.nearest:
            living = [process for process in self.site.of(region) if not process.machine.is_dead]
            if living:
                return self.site.world.random.choice(living)
        return None

    async def open(self) -> None:
        await self.client.open()

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Listen, and call one tool after the other."""
        listening = asyncio.ensure_future(self.listen())
        await self.call_tools()
        await listening

    async def call_tools(self) -> None:
        """Call one tool after the other."""
        loop, number = asyncio.get_running_loop(), 0
        while not self._stopping:
            number += 1
            name, tool = f"{self.name}-{number}", self.site.world.random.choice(["work", "durably"])
            if tool == "durably":
                self.durable.add(name)
            began = loop.time()
            await self._call(name, tool, number)
            self.answered_at = loop.time()
            self.longest_wait = max(self.longest_wait, self.answered_at - began)
            await asyncio.sleep(self.site.world.random.uniform(0, 1))

    async def listen(self) -> None:
        """Read the GET stream, wherever it is served."""
        last: str | None = None
        while not self._stopping:
            if (process := self.process()) is not None:
                answer = await while_alive(process, self.client.get(last, endpoint=process.endpoint))
                if answer is not None and answer.stream is not None:
                    last = await self._listen_to(process, answer, last)
                elif answer is not None:
                    assert answer.status in (503, 204), (answer.status, answer.body)
            await asyncio.sleep(RETRY)

    async def _listen_to(self, process: ServerProcess, answer: Answer, last: str | None) -> str | None:
        while not self._stopping:
            frame = await while_alive(process, answer.frame())
            if frame is None:
                break
            last = frame.id or last
            if frame.data:
                self.heard += 1
                self._note(frame)
        answer.close()
        return last

    def _note(self, frame: Any) -> None:
        """Note which message an id has; a notice of lost messages has the id of the last one that is lost."""
        if frame.message.get("params", {}).get("logger") != "mcp_transport":
            self.site.events[f"{self.key} {frame.id}"].add(frame.data)

    async def _call(self, name: str, tool: str, number: int) -> None:
        """Call a tool until there is an answer: resume its stream or, without an event, send it again."""
        last, steps = "", self.site.world.random.randrange(6)
        while name not in self.answers:
            process = self.process()
            if process is None:
                await asyncio.sleep(RETRY)
                continue
            if last:
                send = self.client.get(last, endpoint=process.endpoint)
            else:
                self.sent[name] += 1
                arguments = {"name": name, "steps": steps}
                send = self.client.call(tool, arguments, id=number, endpoint=process.endpoint)
            self.doing = short_id(self.key), name, tool, last, process.region
            answer = await while_alive(process, send)
            self.doing = (*self.doing, answer and answer.status)
            if answer is None or answer.status == 503:
                self.refused[503] += answer is not None
                await asyncio.sleep(RETRY)
            elif answer.stream is not None:
                last = await self._read(process, answer, name, last)
            elif answer.status == 200:
                self.answers[name] = answer.json
            elif answer.status in (204, 400) and last:  # nothing is left of the stream, or it is unknown
                self.refused[answer.status] += 1
                last = ""
            else:
                raise AssertionError(f"{name}: {answer.status} {answer.body!r}")

    async def _read(self, process: ServerProcess, answer: Answer, name: str, last: str) -> str:
        """Read a stream until it ends; return the id of the last event."""
        while True:
            frame = await while_alive(process, answer.frame())
            if frame is None:
                answer.close()
                await asyncio.sleep(RETRY)
                return last
            if frame.id:
                last = frame.id
            if frame.data:
                self._note(frame)
                if "method" not in frame.message:
                    self.answers[name] = frame.message


async def while_alive(process: ServerProcess, work: Any) -> Any:
    """Return the result of some work of a process, None if that dies before, as for a socket that breaks."""
    machine, task = process.machine, asyncio.ensure_future(work)
    while not task.done():
        if machine.is_dead:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return None
        await asyncio.wait([task], timeout=0.25)
    return task.result()


async def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait, in virtual time, until something holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.1)
