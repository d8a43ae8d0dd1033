"""Regions in virtual time: a table in memory for each, a replicator that delays and reorders, and what cuts them off.

The replicator does what a global table does: each item by itself, in no order, the last write of an item wins.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import AnswerObserver, DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.regions.backend import regions_backend
from mcp_transport.backends.dynamodb.writes import Conflict
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import StoreUnreachable
from tests.support.dynamodb.virtual import VirtualClient, VirtualTable, _key

Place = tuple[str, str]
Item = dict[str, Any]

MAX_LAG = 2.0
"""Seconds that an item takes to the other regions at most, while they see each other."""


class World:
    """Regions that replicate to each other; `cuts` are pairs, of which the first region cannot reach the second."""

    def __init__(self, seed: int, *regions: str) -> None:
        self.regions = {region: RegionTable(self, region, seed + number) for number, region in enumerate(regions)}
        self.random = self.regions[regions[0]].random
        self.cuts, self.unreplicated = set[tuple[str, str]](), set[tuple[str, str]]()
        self._held = defaultdict[tuple[str, str], list[tuple[Place, Item | None, float]]](list)

    def replicate(self, source: str, place: Place, item: Item | None, written: float) -> None:
        """Send a write to all other regions."""
        loop = asyncio.get_running_loop()
        for target in self.regions:
            if target != source:
                lag = self.random.uniform(0, MAX_LAG)
                loop.call_later(lag, self._arrive, (source, target), place, item, written)

    def _arrive(self, way: tuple[str, str], place: Place, item: Item | None, written: float) -> None:
        if way in self.unreplicated:
            self._held[way].append((place, item, written))
        else:
            self.regions[way[1]].apply(place, item, written)

    def partition(self, source: str, target: str) -> None:
        """Stop the replication of one way."""
        self.unreplicated.add((source, target))

    def heal(self) -> None:
        """Let all regions see each other, and replicate what has waited, in no order."""
        self.cuts.clear()
        self.unreplicated.clear()
        loop = asyncio.get_running_loop()
        for way, held in self._held.items():
            for place, item, written in held:
                loop.call_later(self.random.uniform(0, MAX_LAG), self._arrive, way, place, item, written)
        self._held.clear()

    def lose(self, region: str) -> None:
        """Have a region answer nobody, and replicate nothing any more until it is back."""
        self.regions[region].is_away = True
        for other in self.regions:
            self.unreplicated |= {(region, other), (other, region)} if other != region else set()

    def bring_back(self, region: str) -> None:
        """Have a region answer again, with what it had."""
        self.regions[region].is_away = False
        self.heal()


class RegionTable(VirtualTable):
    """The table of a region."""

    def __init__(self, world: World, region: str, seed: int) -> None:
        super().__init__(seed)
        self.world, self.region = world, region
        self._written: dict[Place, float] = {}

    def write(self, changes: dict[Place, Item | None]) -> None:
        super().write(changes)
        now = asyncio.get_running_loop().time()
        for place, item in changes.items():
            # No two writes of an item at the same time: the later one would be undecided.
            written = self._written[place] = max(now, self._written.get(place, 0.0) + 1e-9)
            self.world.replicate(self.region, place, item, written)

    def apply(self, place: Place, item: Item | None, written: float) -> None:
        """Take a write of another region, unless a later one is here."""
        if written > self._written.get(place, 0.0):
            self._written[place] = written
            super().write({place: item})


@dataclass
class Machine:
    """What runs a process: until it is killed."""

    region: str
    is_dead: bool = False
    clients: list[RegionClient] = field(default_factory=list)


class RegionClient(VirtualClient):
    """A client of a region's table, in a process of perhaps another region."""

    def __init__(
        self,
        table: RegionTable,
        machine: Machine,
        settings: TableSettings,
        now: Callable[[], float] | None,
        observer: AnswerObserver | None,
    ) -> None:
        DynamoClient.__init__(self, settings, now, observer)
        self.virtual, self.machine = table, machine

    async def _run(self, operation: str, parameters: dict[str, Any]) -> Any:
        table = self.virtual
        assert isinstance(table, RegionTable)
        if self.machine.is_dead:
            await asyncio.Event().wait()
        if (self.machine.region, table.region) in table.world.cuts:
            await asyncio.sleep(table.random.uniform(0, 3))
            raise StoreUnreachable("cut off")
        return await super()._run(operation, parameters)

    # -- what sessions need besides nodes

    def _handle_query(self, parameters: dict[str, Any]) -> Any:
        if "IndexName" not in parameters:
            return super()._handle_query({"ConsistentRead": False, **parameters})
        shard = parameters["ExpressionAttributeValues"][":value"]
        rows = [item for item in self.virtual.items.values() if item.get("shard") == shard]
        rows.sort(key=lambda item: -int(item["created"]["N"]))
        return {"Items": rows}

    def _handle_put_item(self, parameters: dict[str, Any]) -> Any:
        return self._with_former(_key(parameters["Item"]), parameters, super()._handle_put_item)

    def _handle_delete_item(self, parameters: dict[str, Any]) -> Any:
        return self._with_former(_key(parameters["Key"]), parameters, super()._handle_delete_item)

    def _with_former(self, place: Place, parameters: dict[str, Any], handle: Callable[[dict[str, Any]], Any]) -> Any:
        former = self.virtual.items.get(place)
        reply = handle(parameters)
        return {**reply, "Attributes": former} if former and parameters.get("ReturnValues") == "ALL_OLD" else reply

    def _handle_transact_write_items(self, parameters: dict[str, Any]) -> Any:
        changes, positions = dict[Place, Item | None](), list[int]()
        for position, action in enumerate(parameters["TransactItems"]):
            [(kind, content)] = action.items()
            place = _key(content["Item"] if kind == "Put" else content["Key"])
            try:
                changes[place] = self._changed(kind, place, content)
            except Conflict:
                positions.append(position)
        if positions:
            raise Conflict(positions=positions)
        self.virtual.write(changes)
        return {}

    def _changed(self, kind: str, place: Place, content: dict[str, Any]) -> Item | None:
        if kind != "Update":
            self._check(place, content)
            return dict(content["Item"]) if kind == "Put" else None
        return self._added(place, content)

    def _added(self, place: Place, content: dict[str, Any]) -> Item:
        """Run the one update that the backend has: see `writes.Add`."""
        names, values = content["ExpressionAttributeNames"], content["ExpressionAttributeValues"]
        item = dict(self.virtual.items.get(place, {**content["Key"]}))
        count = item.get(names["#n"])
        if count is None and "attribute_not_exists" not in content["ConditionExpression"]:
            raise Conflict()
        bounds = int(values[":minimum"]["N"]), int(values[":maximum"]["N"])
        if count is not None and not bounds[0] <= int(count["N"]) <= bounds[1]:
            raise Conflict()
        item[names["#n"]] = {"N": str(int((count or {"N": "0"})["N"]) + int(values[":n"]["N"]))}
        added = {name.removeprefix("#p"): attribute for name, attribute in names.items() if name.startswith("#p")}
        return {**item, **{attribute: values[f":p{number}"] for number, attribute in added.items()}}


def virtual_backend(world: World, machine: Machine, policy: Policy, lost_seconds: float) -> Backend:
    """Return the backend of a process."""

    def connect(
        settings: TableSettings, now: Callable[[], float] | None, observer: AnswerObserver | None
    ) -> DynamoClient:
        assert settings.region is not None
        client = RegionClient(world.regions[settings.region], machine, settings, now, observer)
        machine.clients.append(client)
        return client

    loop = asyncio.get_running_loop()
    tables = {
        region: TableSettings(region=region, namespace=region, is_remote=region != machine.region)
        for region in world.regions
    }
    own = replace(policy, region=machine.region)
    return regions_backend(
        own, tables, lost_seconds, now=lambda: 1e6 + loop.time(), monotonic=loop.time, connect=connect
    )


def open_records(world: World, key: str) -> Iterator[str]:
    """Yield the regions in whose own table a session is open in their own namespace."""
    for region, table in world.regions.items():
        item = table.items.get((f"{region}|session#{key}", "record"))
        if item is not None and "shard" in item:
            yield region
