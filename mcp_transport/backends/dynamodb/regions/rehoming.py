"""Gives a session whose home is lost another one, from the local replica."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from mcp_transport.backends.codec import each
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import VERSION, Address, Item
from mcp_transport.backends.dynamodb.leases import read_leases
from mcp_transport.backends.dynamodb.regions.claims import claim_address, claim_item, read_claims
from mcp_transport.backends.dynamodb.regions.copying import Copy, Move, copy_of, new_get_stream
from mcp_transport.backends.dynamodb.regions.homes import MAX_EPOCH, Claim, Home, first_number, newest
from mcp_transport.backends.dynamodb.session_record import SessionRecord, record_address, record_kind, session_pk
from mcp_transport.backends.dynamodb.versioned import pause_after
from mcp_transport.backends.dynamodb.writes import ABSENT, Conflict, Delete, Put, expected_version
from mcp_transport.backends.membership import Stream
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import log_failure

__all__ = ["Moved", "Rehoming"]

# Together with the claims of other processes, each of which is first only once.
_ATTEMPTS: Final = 5

# How many items are written at the same time.
_PARALLEL: Final = 8

# The attributes that have the namespace.
_KEYS: Final = ("pk", "shard")

# The state of tools, which has no versions.
_STATE: Final = "state#"


class Moved(NamedTuple):
    """The outcome of a re-homing."""

    home: Home
    is_ours: bool
    """Has this process moved the session, and not another one before it?"""
    orphans: list[tuple[Stream, str]]
    """Streams whose calls are lost, and the names of their nodes in the copy."""


class Rehoming:
    """Copies sessions into this region's namespace, and claims them.

    Everything but the record is copied first. The record and the claim are one transaction: it holds if no other
    process of the region was faster. The order in which the items replicate does not matter: a region that sees the
    claim uses the endpoint of the new home.
    """

    def __init__(self, own: str, others: Mapping[str, DynamoClient], client: DynamoClient, policy: Policy) -> None:
        """`client` is this region's, in its namespace; `others` are those at the endpoints of the other regions."""
        self._own, self._regions, self._policy = own, (own, *others), policy
        self._others = {region: other.in_namespace("") for region, other in others.items()}
        self._client, self._claims = client, client.in_namespace("")

    async def claims(self, key: str, *, consistent: bool = False) -> dict[str, Claim]:
        """Return the claims of a session that this region has. Raises: BackendError."""
        return await read_claims(self._claims, key, consistent=consistent)

    async def claims_elsewhere(self, key: str, regions: Iterable[str]) -> list[Claim]:
        """Return the claims of a session that other regions have; a region that does not answer is left out."""
        reads = (read_claims(self._others[region], key, consistent=True) for region in regions)
        claims = list[Claim]()
        for answer in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(answer, BackendError):
                log_failure("another region cannot be asked for the home of a session", answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                claims += answer.values()
        return claims

    async def rehome(self, key: str, lost: Home) -> Moved:
        """Make this region the home of a session, unless another process is faster. Raises: BackendError."""
        for attempt in range(_ATTEMPTS):
            claims = await self.claims(key, consistent=True)
            current = newest(claims.values())
            if current is not None and current.home > lost:
                return Moved(current.home, False, [])
            if lost.epoch >= MAX_EPOCH:
                raise BackendError("the session has had too many homes")
            home = Home(lost.epoch + 1, self._own)
            try:
                return Moved(home, True, await self._move(key, lost, home, claims.get(self._own)))
            except Conflict:
                await self._remove_unreadable_claim(key)
            await asyncio.sleep(pause_after(attempt))
        raise BackendError("too many processes give a session another home")

    async def find(self, key: str) -> str:
        """Return the region whose replica has the session, or this one if none has. Raises: BackendError."""
        places = {
            Address(self._claims.in_namespace(region).qualified(session_pk(key)), record_address(key).sk): region
            for region in self._regions
        }
        items = await self._claims.get_each(places)
        kind, now, ttl = record_kind(key, self._policy.session_ttl), self._client.now(), self._policy.session_ttl

        def decode(pair: tuple[Address, Item]) -> tuple[bool, float, str]:
            record = kind.decode(pair[1])
            return record.is_open(now, ttl), record.session.last_seen, places[pair[0]]

        return max(each("a session", items.items(), decode), default=(False, 0.0, self._own))[2]

    async def restore(self, session: Session, home: Home) -> bool:
        """Store a session again that the replica did not have when it got its home; return whether it is open.

        Raises: BackendError.
        """
        claim, ttl = (await self.claims(session.key, consistent=True)).get(self._own), self._policy.session_ttl
        # A session that is older had replicated. Without a record it has expired, or was ended.
        is_recent = self._client.now() < session.created + ttl
        if claim is None or claim.home != home or not claim.is_bare or not is_recent:
            return False
        session = replace(session, region=self._own)
        encoded = record_kind(session.key, ttl).encode(SessionRecord(session, epoch=home.epoch))
        record = {**encoded, **record_address(session.key)._asdict()}
        stream = new_get_stream(session.key, session.ends, first_number(home, self._regions))
        try:
            await self._client.transact([Put({**record, VERSION: 1}, ABSENT), Put(stream, ABSENT)])
        except Conflict:
            item = await self._client.get(record_address(session.key))
            return item is not None and not record_kind(session.key, ttl).decode(item).is_closed
        return True

    async def _move(self, key: str, lost: Home, home: Home, own: Claim | None) -> list[tuple[Stream, str]]:
        """Copy a session, and claim it. Raises: Conflict if another process was faster, BackendError."""
        replica, leases = await asyncio.gather(
            self._client.in_namespace(lost.region).query(session_pk(key)),
            read_leases(self._client, self._policy.lease, consistent=True),
        )
        move = Move(
            key=key,
            source=lost.region,
            target=self._own,
            epoch=home.epoch,
            first_number=first_number(home, self._regions),
            nodes={name for name, lease in leases.items() if not lease.is_swept and not lease.is_remote},
            now=self._client.now(),
            ttl=self._policy.session_ttl,
        )
        copy, left = copy_of(replica, move), await self._left(key)
        expires = self._client.now() + self._policy.session_max_age
        writes = [Put(claim_item(key, home, expires, is_bare=copy is None), own.version if own else ABSENT)]
        if copy is not None:
            await self._write_parts(key, copy, left)
            record = self._put(copy.record, left)
            writes.append(Put(self._qualified(record.item), record.expected))
        await self._claims.transact(writes)  # the claim has no namespace
        return copy.orphans if copy is not None else []

    def _qualified(self, item: Item) -> Item:
        """Return an item of this region's namespace as it is stored."""
        return {name: self._client.qualified(part) if name in _KEYS else part for name, part in item.items()}

    async def _left(self, key: str) -> dict[str, Item]:
        """Return what this region has stored of the session when it was its home, or on the way to that."""
        items = await self._client.query(session_pk(key), names=("sk", VERSION))
        return {item["sk"]: item for item in items}

    async def _write_parts(self, key: str, copy: Copy, left: Mapping[str, Item]) -> None:
        """Write all but the record: what has a version in place of the one that was read.

        So a process that was paused on the way cannot write over what the new home has changed. Raises: Conflict.
        """
        names = {item["sk"] for item in copy.others}
        old_state = [name for name in left if name.startswith(_STATE) and name not in names]
        await self._client.write_each(deletes=[Address(session_pk(key), name) for name in old_state])
        await self._client.write_each(item for item in copy.others if VERSION not in item)
        versioned = [item for item in [*copy.states, *copy.others] if VERSION in item]
        for at in range(0, len(versioned), _PARALLEL):
            writes = [self._client.write(self._put(item, left)) for item in versioned[at : at + _PARALLEL]]
            for outcome in await asyncio.gather(*writes, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    def _put(self, item: Item, left: Mapping[str, Item]) -> Put:
        """Return the write of an item in place of what was left."""
        current = left.get(item["sk"])
        expected = expected_version(current) if current is not None else ABSENT
        return Put({**item, VERSION: 1 + secrets.randbits(62)}, expected)

    async def _remove_unreadable_claim(self, key: str) -> None:
        """Remove an item in the place of this region's claim that no release has written. Raises: BackendError."""
        address = claim_address(key, self._own)
        item = await self._claims.get(address)
        if item is not None and self._own not in await self.claims(key, consistent=True):
            with suppress(Conflict):
                await self._claims.write(Delete(address, expected_version(item)))
