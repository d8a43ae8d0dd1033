"""What DynamoDB does and moto does not: throttling, lost answers, conflicts, unprocessed items, old reads.

The faults are injected at botocore's layer, below its retries, into the requests of one client.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.retries.adaptive import ClientRateLimiter
from botocore.retries.standard import ExponentialBackoff

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from tests.support.dynamodb.backend import admin, boto3_of
from tests.support.dynamodb.meter import written
from tests.support.dynamodb.units import index_entry

Parameters = dict[str, Any]

# -- the kinds of faults

THROTTLED: Final = "throttled"
"""The request is refused because too many came."""
BROKEN: Final = "broken"
"""DynamoDB answers 500, and has not run the request."""
REFUSED: Final = "refused"
"""Nobody accepts the connection."""
LOST_REQUEST: Final = "lost request"
"""The request never arrives; the client waits for its answer in vain."""
LOST_ANSWER: Final = "lost answer"
"""The request runs; the client waits for its answer in vain."""
CONFLICT: Final = "conflict"
"""A transaction of another client is in the way."""
UNPROCESSED: Final = "unprocessed"
"""All of a batch but its first item is left for another request."""
OLD: Final = "old"
"""A query that is not consistent, or of an index, does not see the last writes."""

_SINGLE: Final = ("PutItem", "UpdateItem", "DeleteItem")
_BATCHES: Final = {"BatchGetItem": "UnprocessedKeys", "BatchWriteItem": "UnprocessedItems"}
_BEFORE_SENDING: Final = (THROTTLED, BROKEN, REFUSED, LOST_REQUEST, LOST_ANSWER, CONFLICT)


class Faults:
    """Faults of a client's requests: those that a test orders by `next`, and others by chance, from a seed.

    `shares` are the shares of the requests, by kind. `lag` is how many writes an old query does not see.
    """

    def __init__(
        self, client: DynamoClient, seed: int = 0, shares: Mapping[str, float] | None = None, *, lag: int = 3
    ) -> None:
        self._random, self._shares = random.Random(seed), dict(shares or {})  # noqa: S311
        self._lock, self._ordered = threading.Lock(), list[tuple[str, str]]()
        self._boto3, self._admin = boto3_of(client), admin(str(client._settings.endpoint_url))
        self._last_writes = deque[tuple[str, Parameters, Parameters | None]](maxlen=lag)
        self.injected = Counter[str]()
        events = self._boto3.meta.events
        events.register_first("provide-client-params.dynamodb", self._provide)
        events.register_first("before-send.dynamodb", self._before_send)
        events.register_first("after-call.dynamodb", self._after_call)

    def next(self, kind: str, times: int = 1, *, operation: str = "") -> None:
        """Order a fault for the next requests that can have it, or for those of one operation (`PutItem`)."""
        with self._lock:
            self._ordered += [(kind, operation)] * times

    def stop(self) -> None:
        """Inject nothing any more."""
        with self._lock:
            self._ordered.clear()
            self._shares.clear()

    def _chooses(self, kind: str, operation: str) -> bool:
        """Decide whether a request has a fault."""
        with self._lock:
            ordered = next((one for one in self._ordered if one[0] == kind and one[1] in ("", operation)), None)
            if ordered is not None:
                self._ordered.remove(ordered)
            chosen = ordered is not None or self._random.random() < self._shares.get(kind, 0.0)
            self.injected[kind] += chosen
            return chosen

    # -- before a request leaves, at each attempt

    def _before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        for kind in _BEFORE_SENDING:
            if _can_have(kind, operation) and self._chooses(kind, operation):
                return self._fail(kind, operation, request)
        return None

    def _fail(self, kind: str, operation: str, request: Any) -> AWSResponse:
        if kind == THROTTLED:
            return _answer(self._random.choice(("ProvisionedThroughputExceededException", "ThrottlingException")))
        if kind == BROKEN:
            return _answer("InternalServerError", status=500)
        if kind == CONFLICT and operation in _SINGLE:
            return _answer("TransactionConflictException")
        if kind == CONFLICT:
            count = len(json.loads(request.body)["TransactItems"])
            reasons = [{"Code": "TransactionConflict"}, *[{"Code": "None"}] * (count - 1)]
            return _answer("TransactionCanceledException", CancellationReasons=reasons)
        if kind == REFUSED:
            raise EndpointConnectionError(endpoint_url=request.url, error="refused by the test")
        if kind == LOST_ANSWER:
            self._boto3._endpoint.http_session.send(request)
        raise ReadTimeoutError(endpoint_url=request.url, error="lost by the test")

    # -- around a call, its attempts included

    def _provide(self, params: Parameters, model: Any, context: Parameters, **_: Any) -> Parameters | None:
        self._remember(model.name, params)
        context["query"] = params
        if model.name not in _BATCHES or not self._can_be_split(params) or not self._chooses(UNPROCESSED, model.name):
            return None
        [(table, request)] = params["RequestItems"].items()
        parts = request["Keys"] if model.name == "BatchGetItem" else request
        sent, context["left"] = (
            ({**request, "Keys": part} if model.name == "BatchGetItem" else part) for part in (parts[:1], parts[1:])
        )
        return {**params, "RequestItems": {table: sent}}

    def _can_be_split(self, params: Parameters) -> bool:
        [request] = params["RequestItems"].values()
        return len(request["Keys"] if isinstance(request, dict) else request) > 1

    def _remember(self, operation: str, params: Parameters) -> None:
        """Keep what is stored before a write."""
        for table, key in written(operation, params):
            former = self._admin.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
            with self._lock:
                self._last_writes.append((table, key, former))

    def _after_call(self, parsed: Parameters, model: Any, context: Parameters, **_: Any) -> None:
        if "Error" in parsed:
            return
        params = context["query"]
        if "left" in context:
            [table] = params["RequestItems"]
            parsed[_BATCHES[model.name]] = {table: context["left"]}
        if model.name == "Query" and not params.get("ConsistentRead") and self._chooses(OLD, model.name):
            with self._lock:
                writes = list(self._last_writes)
            parsed["Items"] = _as_before(parsed["Items"], params, writes)


def _can_have(kind: str, operation: str) -> bool:
    return kind != CONFLICT or operation in (*_SINGLE, "TransactWriteItems")


def _answer(code: str, status: int = 400, **more: Any) -> AWSResponse:
    """Return an error as DynamoDB answers it."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "by the test", **more})
    response = AWSResponse("http://dynamodb.invalid/", status, {}, None)
    response._content = body.encode()
    return response


def _as_before(
    items: list[Parameters], params: Parameters, writes: list[tuple[str, Parameters, Parameters | None]]
) -> list[Parameters]:
    """Return a query's items as they were before the last writes: without new ones, with old ones and deleted ones.

    Names that the query left out may be there.
    """
    at = {(item["pk"]["S"], item["sk"]["S"]): item for item in items if "pk" in item and "sk" in item}
    for table, key, former in reversed(writes):
        if table != params["TableName"]:
            continue
        place = key["pk"]["S"], key["sk"]["S"]
        at.pop(place, None)
        if former is not None and _is_in(former, params):
            at[place] = former if "IndexName" not in params else index_entry(former) or {}
    if "IndexName" in params:
        return sorted(at.values(), key=lambda item: int(item["created"]["N"]), reverse=True)
    return [at[place] for place in sorted(at)]


def _is_in(item: Parameters, params: Parameters) -> bool:
    """Tell whether a query of `DynamoClient` finds an item."""
    values = params["ExpressionAttributeValues"]
    if "IndexName" in params:
        return index_entry(item) is not None and item["shard"] == values[":value"]
    in_range: bool = values[":low"]["S"] <= item["sk"]["S"] <= values[":high"]["S"]
    return item["pk"] == values[":pk"] and in_range


@contextlib.contextmanager
def without_pauses() -> Iterator[None]:
    """Let botocore try again at once, and not slow down after throttling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0)
        patch.setattr(ClientRateLimiter, "on_sending_request", lambda self, request, **_: None)
        yield


def delete_expired(table: TableSettings, now: float) -> int:
    """Delete the items whose time has come, as DynamoDB does days later; return how many there were."""
    client, count = admin(str(table.endpoint_url)), 0
    for item in client.scan(TableName=table.table, ConsistentRead=True)["Items"]:
        if "N" in item.get("ttl", {}) and float(item["ttl"]["N"]) < now:
            client.delete_item(TableName=table.table, Key={name: item[name] for name in ("pk", "sk")})
            count += 1
    return count
