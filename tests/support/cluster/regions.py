"""Two regions of real processes: a server with DynamoDB's API and two nodes each, and a replicator between them.

The replicator copies what each region has written in its own namespace, item by item and in no order, as a global
table does between regions.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path
from random import SystemRandom
from typing import Any, Self

import pytest

from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE
from tests.support.cluster.stage import LEASE, Steered
from tests.support.dynamodb.server import VARIABLES, DynamoServer
from tests.support.node import Node
from tests.support.processes import LOOPBACK, start_all, stop_all

NAMES = ("eu-west-1", "us-east-1")
TABLE = "MCPSessions"
LOST = 2.0
"""REGION_LOST_SECONDS."""
LAG = 0.3
"""Seconds that an item takes to the other region at most, besides what a scan takes."""

_random = SystemRandom()

Items = dict[tuple[str, str], dict[str, Any]]


class Region:
    """A region: its table, and its nodes."""

    def __init__(self, name: str) -> None:
        self.name, self.server = name, DynamoServer(name=f"dynamodb-{name}")
        self.nodes = [_node(server, f"{name}-{server}") for server in ("daphne", "uvicorn")]
        self._client: Any = None

    @property
    def client(self) -> Any:
        """A client of boto3 for the table."""
        import boto3  # the credentials must be in the environment

        if self._client is None or self.server.url != self._client.meta.endpoint_url:
            self._client = boto3.session.Session().client(
                "dynamodb", region_name=self.name, endpoint_url=self.server.url
            )
        return self._client

    def start_table(self) -> None:
        """Start a table that is empty."""
        self.server.start()
        self.client.create_table(TableName=TABLE, **DEFINITION)
        self.client.update_time_to_live(TableName=TABLE, TimeToLiveSpecification=TIME_TO_LIVE)

    def items(self) -> Items:
        """Return all items."""
        pages = self.client.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True)
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    def has(self, prefix: str) -> bool:
        """Return whether there is an item in a partition whose name begins so."""
        return any(pk.startswith(prefix) for pk, _ in self.items())

    def owns(self, pk: str, sk: str) -> bool:
        """Return whether this region alone writes an item."""
        return pk.startswith(f"{self.name}|") or (pk.startswith("home#") and sk == self.name)


def _node(server: str, name: str) -> Node:
    site = "tests.support.cluster.site"
    return Node(server, settings=f"{site}.settings", application=f"{site}.asgi:application", name=name)


class Replicator:
    """Copies changes between two regions, in a thread, until it is stopped."""

    def __init__(self, regions: list[Region]) -> None:
        self.regions = regions
        self._copied: dict[str, Items] = {region.name: {} for region in regions}
        self._paused, self._over, self._lock = set[str](), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    def pause(self, region: Region) -> None:
        """Replicate nothing from or to a region."""
        with self._lock:
            self._paused.add(region.name)

    def resume(self, region: Region) -> None:
        """Replicate again, also what was written meanwhile."""
        with self._lock:
            self._paused.discard(region.name)

    def refill(self, region: Region) -> None:
        """Copy everything of the other region into a table that is empty."""
        with self._lock:
            [other] = [each for each in self.regions if each is not region]
            items = other.items()
            for item in items.values():
                region.client.put_item(TableName=TABLE, Item=item)
            self._copied[region.name] = {place: item for place, item in items.items() if region.owns(*place)}
            self._paused.discard(region.name)

    def _run(self) -> None:
        while not self._over.wait(_random.uniform(0, LAG)):
            with self._lock:
                if not self._paused:
                    self._copy(*self.regions)
                    self._copy(*self.regions[::-1])

    def _copy(self, source: Region, target: Region) -> None:
        current = {place: item for place, item in source.items().items() if source.owns(*place)}
        copied = self._copied[source.name]
        changed = [place for place in current.keys() | copied.keys() if current.get(place) != copied.get(place)]
        _random.shuffle(changed)
        for place in changed:
            if _random.random() < 0.2:  # it comes with a later turn
                continue
            if (item := current.get(place)) is not None:
                target.client.put_item(TableName=TABLE, Item=item)
                copied[place] = item
            else:
                target.client.delete_item(TableName=TABLE, Key={"pk": {"S": place[0]}, "sk": {"S": place[1]}})
                del copied[place]


class Regions(Steered):
    """The two regions, the folder through which their tools are steered, and what may happen to a region."""

    def __init__(self, **settings: Any) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="regions-")
        self.folder = Path(self._temporary.name)
        self._environment = pytest.MonkeyPatch()
        self._settings = {"LEASE_SECONDS": LEASE, "DRAIN_SECONDS": 1.0, "SSE_AFTER_SECONDS": 0.2, **settings}
        self.regions = [Region(name) for name in NAMES]
        self.replicator = Replicator(self.regions)

    def __enter__(self) -> Self:
        for name, value in VARIABLES.items():
            self._environment.setenv(name, value)
        try:
            for region in self.regions:
                region.start_table()
            self.replicator.start()
            self.start_nodes(*self.regions)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.replicator.stop()
        for region in self.regions:
            region.server.resume()
        stop_all([node for region in self.regions for node in region.nodes])
        stop_all([region.server for region in self.regions])
        self._environment.undo()
        self._temporary.cleanup()

    def start_nodes(self, *regions: Region) -> None:
        """Start the nodes of regions."""
        endpoints = {f"{region.name}.test": [LOOPBACK, region.server.port] for region in self.regions}
        table = {"TABLE": TABLE, "ENDPOINT_URL": "http://{region}.test"}
        several = {"REGIONS": NAMES, "REGION_LOST_SECONDS": LOST}
        for region in regions:
            for node in region.nodes:
                node.variables = {
                    **VARIABLES,
                    "SITE_DYNAMODB": json.dumps({**table, **several}),
                    "SITE_ENDPOINTS": json.dumps(endpoints),
                    "SITE_FOLDER": str(self.folder),
                    "SITE_MCP": json.dumps({**self._settings, "REGION": region.name}),
                }
        start_all([node for region in regions for node in region.nodes])

    def lose(self, region: Region) -> None:
        """Kill all of a region in the same moment."""
        self.replicator.pause(region)
        region.server.kill()
        for node in region.nodes:
            node.kill()

    def replace(self, region: Region) -> None:
        """Bring a region back with an empty table, which is filled from the other one."""
        region.start_table()
        self.replicator.refill(region)
        self.start_nodes(region)

    def cut_off(self, region: Region) -> None:
        """Have the table of a region answer nobody, and kill its nodes; the table keeps what it has."""
        self.replicator.pause(region)
        region.server.pause()
        for node in region.nodes:
            node.kill()

    def bring_back(self, region: Region) -> None:
        """Undo `cut_off`."""
        region.server.resume()
        self.start_nodes(region)
        self.replicator.resume(region)


async def pause_until(deadline: float, refusal: bytes, region: Region, pause: float = 0.2) -> None:
    """Wait before another attempt. Fails after the deadline, with the last refusal and what the nodes say."""
    if time.monotonic() > deadline:
        logs = "\n".join(f"{node.name}:\n{node.fresh_log[-4000:]}" for node in region.nodes)
        pytest.fail(f"the client does not go on in the other region: {refusal!r}\n{logs}")
    await asyncio.sleep(pause)
