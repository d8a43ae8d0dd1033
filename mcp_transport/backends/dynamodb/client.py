"""The table's client: boto3 in a bounded thread pool, behind the few operations that the backend needs.

Nothing else knows boto3, so that another library can take its place.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mcp_transport.backends.dynamodb.items import Address, Item, from_attributes, to_attributes
from mcp_transport.backends.dynamodb.namespace import (
    in_namespace,
    item_without_namespace,
    qualified,
    without_namespace,
)
from mcp_transport.backends.dynamodb.store_clock import StoreClock
from mcp_transport.backends.dynamodb.writes import Conflict, Write, action, request
from mcp_transport.exceptions import BackendError, StoreUnreachable

__all__ = ["MAX_ITEM_BYTES", "AnswerObserver", "DynamoClient", "TableSettings", "default_region"]

MAX_ITEM_BYTES: Final = 256 * 1024
"""The most bytes of content that the backend puts into one item; DynamoDB allows 400 KiB with names and keys."""

_THREADS: Final = 32
_ATTEMPTS: Final = 4
_CONNECT_SECONDS: Final = 2.0
_READ_SECONDS: Final = 5.0
# At the endpoint of another region, which may be lost: requests for other sessions must not wait for it.
_REMOTE_ATTEMPTS: Final = 2
_REMOTE_CONNECT_SECONDS: Final = 1.0
_REMOTE_READ_SECONDS: Final = 2.0
# Answers of a server that has not run the request.
_SERVER_ERROR: Final = 500

# The most items that DynamoDB takes at a time.
_BATCH_WRITE: Final = 25
_BATCH_GET: Final = 100
# How often items that DynamoDB has left unprocessed are sent again, and the first pause before that.
_UNPROCESSED_ATTEMPTS: Final = 8
_UNPROCESSED_PAUSE_SECONDS: Final = 0.05

_CONFLICTS: Final = ("ConditionalCheckFailed", "TransactionConflict")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """Where the table is; the credentials are those that botocore finds."""

    table: str = "MCPSessions"
    region: str | None = None
    endpoint_url: str | None = None
    namespace: str = ""
    """The prefix of all keys; empty for none."""
    is_remote: bool = False
    """Is the endpoint that of another region than this process is in?"""


class AnswerObserver(Protocol):
    """Learns whether an endpoint answers; called on the loops of all requests."""

    def answered(self) -> None:
        """Record an answer, whatever it says."""

    def failed(self) -> None:
        """Record a request that nothing has answered."""


def default_region() -> str | None:
    """Return the region that botocore finds in the environment or the profile. Raises: BackendError."""
    try:
        region: str | None = boto3.session.Session().region_name
    except BotoCoreError as error:
        raise BackendError(f"DynamoDB cannot be used: {error}") from error
    return region


class _Connection(NamedTuple):
    """What a process uses, which a fork must not share."""

    pid: int
    client: Any
    threads: ThreadPoolExecutor


@dataclass(slots=True)
class _Shared:
    """What the clients of all namespaces share."""

    clock: StoreClock = field(default_factory=StoreClock)
    of_process: _Connection | None = None
    running: set[Future[Any]] = field(default_factory=set)


class DynamoClient:
    """One table; `now` replaces the store's clock in tests. `observer` learns whether the endpoint answers."""

    def __init__(
        self,
        settings: TableSettings,
        now: Callable[[], float] | None = None,
        observer: AnswerObserver | None = None,
    ) -> None:
        self.table, self._settings, self._shared, self._observer = settings.table, settings, _Shared(), observer
        self.now: Callable[[], float] = now or self._shared.clock

    @property
    def is_remote(self) -> bool:
        """Return whether the endpoint is that of another region."""
        return self._settings.is_remote

    def in_namespace(self, namespace: str) -> Self:
        """Return a client of the same table, on the same connections, with another namespace."""
        client = copy.copy(self)
        client._settings = replace(self._settings, namespace=namespace)
        return client

    def qualified(self, name: str) -> str:
        """Return a partition key of this client's namespace as it is stored, for a client without one."""
        return qualified(name, self._settings.namespace)

    # -- single items --------------------------------------------------------------------------------

    async def get(self, address: Address) -> Item | None:
        """Return an item as the last write has left it. Raises: BackendError."""
        reply = await self.call("get_item", TableName=self.table, Key=address.attributes(), ConsistentRead=True)
        return from_attributes(reply["Item"]) if "Item" in reply else None

    async def write(self, write: Write, *, former: bool = False) -> Item | None:
        """Write one item; with `former`, return the one that was stored. Raises: Conflict, BackendError."""
        operation, parameters = request(write)
        if former:
            parameters["ReturnValues"] = "ALL_OLD"
        reply = await self.call(operation, TableName=self.table, **parameters)
        return from_attributes(reply["Attributes"]) if reply.get("Attributes") else None

    # -- several items -------------------------------------------------------------------------------

    async def transact(self, writes: Sequence[Write]) -> None:
        """Write all items or none. Raises: Conflict, BackendError."""
        await self.call("transact_write_items", TransactItems=[action(write, self.table) for write in writes])

    async def get_each(self, addresses: Iterable[Address]) -> dict[Address, Item]:
        """Return the items that exist, as the last writes have left them. Raises: BackendError."""
        distinct, received = list(dict.fromkeys(addresses)), list[Any]()
        for at in range(0, len(distinct), _BATCH_GET):
            keys = [address.attributes() for address in distinct[at : at + _BATCH_GET]]
            await self._repeat("batch_get_item", "UnprocessedKeys", {"Keys": keys, "ConsistentRead": True}, received)
        return {Address(item["pk"], item["sk"]): item for item in map(from_attributes, received)}

    async def write_each(self, puts: Iterable[Item] = (), deletes: Iterable[Address] = ()) -> None:
        """Put and delete items without conditions, each by itself. Raises: BackendError."""
        requests: list[Any] = [{"PutRequest": {"Item": to_attributes(item)}} for item in puts]
        requests += [{"DeleteRequest": {"Key": address.attributes()}} for address in deletes]
        for at in range(0, len(requests), _BATCH_WRITE):
            await self._repeat("batch_write_item", "UnprocessedItems", requests[at : at + _BATCH_WRITE], [])

    async def query(
        self,
        pk: str,
        low: str = "\0",
        high: str = "\U0010ffff",
        *,
        limit: int | None = None,
        names: Sequence[str] = (),
        consistent: bool = True,
    ) -> list[Item]:
        """Return the items of a partition between two sort keys, in order; with `names`, only these attributes.

        Raises: BackendError.
        """
        if low > high:  # DynamoDB refuses it
            return []
        values = {":pk": {"S": pk}, ":low": {"S": low}, ":high": {"S": high}}
        condition = "pk = :pk AND sk BETWEEN :low AND :high"
        return await self._query(condition, values, limit=limit, names=names, ConsistentRead=consistent)

    async def query_index(self, index: str, key: str, value: str, *, limit: int | None = None) -> list[Item]:
        """Return the items of one partition of an index, the newest first. Raises: BackendError."""
        return await self._query(
            f"{key} = :value", {":value": {"S": value}}, limit=limit, IndexName=index, ScanIndexForward=False
        )

    async def _query(
        self,
        condition: str,
        values: dict[str, Any],
        *,
        limit: int | None,
        names: Sequence[str] = (),
        **parameters: Any,
    ) -> list[Item]:
        parameters |= {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}
        if names:
            aliases = {f"#n{position}": name for position, name in enumerate(names)}
            parameters |= {"ProjectionExpression": ", ".join(aliases), "ExpressionAttributeNames": aliases}
        received = list[Any]()
        while True:
            if limit is not None:
                parameters["Limit"] = limit - len(received)
            reply = await self.call("query", TableName=self.table, **parameters)
            received += reply["Items"]
            following = reply.get("LastEvaluatedKey")
            if not following or (limit is not None and len(received) >= limit):
                return list(map(from_attributes, received))
            parameters["ExclusiveStartKey"] = following

    async def _repeat(self, operation: str, left: str, request: Any, received: list[Any]) -> None:
        """Send a batch until nothing of it is left unprocessed. Raises: BackendError."""
        for attempt in range(_UNPROCESSED_ATTEMPTS):
            reply = await self.call(operation, RequestItems={self.table: request})
            received += reply.get("Responses", {}).get(self.table, ())
            request = reply.get(left, {}).get(self.table)
            if not request:
                return
            await asyncio.sleep(_UNPROCESSED_PAUSE_SECONDS * 2**attempt)
        raise BackendError(f"the DynamoDB table {self.table} is throttled")

    # -- boto3 ---------------------------------------------------------------------------------------

    async def call(self, operation: str, **parameters: Any) -> Any:
        """Call an operation of boto3's client in a thread, which ends even if the caller is cancelled.

        Raises: Conflict, BackendError.
        """
        if not (namespace := self._settings.namespace):
            return await self._observed(operation, parameters)
        try:
            reply = await self._observed(operation, in_namespace(parameters, namespace))
        except Conflict as conflict:
            if conflict.current is not None:
                conflict.current = item_without_namespace(conflict.current, namespace)
            raise
        return without_namespace(reply, namespace)

    async def _observed(self, operation: str, parameters: dict[str, Any]) -> Any:
        if (observer := self._observer) is None:
            return await self._run(operation, parameters)
        try:
            reply = await self._run(operation, parameters)
        except StoreUnreachable:
            observer.failed()
            raise
        except (Conflict, BackendError):
            observer.answered()
            raise
        observer.answered()
        return reply

    async def _run(self, operation: str, parameters: dict[str, Any]) -> Any:
        connection, running = self._connection(), self._shared.running
        future = connection.threads.submit(self._call, connection.client, operation, parameters)
        running.add(future)
        future.add_done_callback(running.discard)
        return await asyncio.wrap_future(future)

    async def flush(self) -> None:
        """Wait until no cancelled operation can still reach the table."""
        while running := [asyncio.wrap_future(future) for future in list(self._shared.running)]:
            await asyncio.gather(*running, return_exceptions=True)

    def _connection(self) -> _Connection:
        connection = self._shared.of_process
        if connection is None or connection.pid != os.getpid():
            threads = ThreadPoolExecutor(_THREADS, "dynamodb")
            connection = self._shared.of_process = _Connection(os.getpid(), self._connect(), threads)
        return connection

    def _connect(self) -> Any:
        is_remote = self.is_remote
        config = Config(
            connect_timeout=_REMOTE_CONNECT_SECONDS if is_remote else _CONNECT_SECONDS,
            read_timeout=_REMOTE_READ_SECONDS if is_remote else _READ_SECONDS,
            retries={"mode": "adaptive", "total_max_attempts": _REMOTE_ATTEMPTS if is_remote else _ATTEMPTS},
            max_pool_connections=_THREADS,
        )
        try:
            return boto3.session.Session().client(
                "dynamodb",
                region_name=self._settings.region,
                endpoint_url=self._settings.endpoint_url,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise BackendError(f"DynamoDB cannot be used: {error}") from error

    def _call(self, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        sent = self._shared.clock.monotonic()
        try:
            reply = getattr(client, operation)(**parameters)
        except ClientError as error:
            self._observe(error.response, sent)
            raise self._translated(error) from error
        except BotoCoreError as error:
            raise StoreUnreachable(f"DynamoDB does not answer: {error}") from error
        self._observe(reply, sent)
        return reply

    def _observe(self, reply: Any, sent: float) -> None:
        """Compare the store's clock with this machine's."""
        date = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        clock = self._shared.clock
        clock.observe(date, sent, clock.monotonic())

    def _translated(self, error: ClientError) -> Exception:
        code, text = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code == "ConditionalCheckFailedException":
            return Conflict(from_attributes(error.response["Item"]) if "Item" in error.response else None)
        if code in ("TransactionInProgressException", "TransactionConflictException"):
            return Conflict()
        if code == "TransactionCanceledException":
            reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", ())]
            if set(reasons) & set(_CONFLICTS):
                return Conflict(positions=[at for at, reason in enumerate(reasons) if reason == _CONFLICTS[0]])
            text = f"{text} {reasons}"
        if code == "ResourceNotFoundException":
            return BackendError(
                f"the DynamoDB table {self.table} does not exist: run `manage.py mcp_dynamodb create`"
            )
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = StoreUnreachable if status >= _SERVER_ERROR else BackendError
        return kind(f"DynamoDB answers {code}: {text}")
