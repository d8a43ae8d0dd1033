"""The claims to be the home of a session: one item for each region that has claimed it, outside all namespaces."""

from __future__ import annotations

import secrets
from typing import Final

from mcp_transport.backends.codec import each
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import VERSION, Address, Item, count_of, expiry
from mcp_transport.backends.dynamodb.regions.homes import MAX_EPOCH, Claim, Home

__all__ = ["claim_address", "claim_item", "read_claims"]

_BARE: Final = "bare"
_MAX_REGION: Final = 32


async def read_claims(client: DynamoClient, key: str, *, consistent: bool = False) -> dict[str, Claim]:
    """Return the claims of a session by region, as the client's own region has them. Raises: BackendError."""
    items = await client.query(_pk(key), consistent=consistent)
    return {claim.home.region: claim for claim in each("a claim of a session", items, _decode)}


def claim_address(key: str, region: str) -> Address:
    """Return the address of a region's claim."""
    return Address(_pk(key), region)


def claim_item(key: str, home: Home, expires: float, *, is_bare: bool = False) -> Item:
    """Return the item of a new claim."""
    bare = {_BARE: True} if is_bare else {}
    return {
        **claim_address(key, home.region)._asdict(),
        "epoch": home.epoch,
        VERSION: 1 + secrets.randbits(62),
        **bare,
        **expiry(expires),
    }


def _decode(item: Item) -> Claim:
    """Raises: ValueError, KeyError."""
    region = item["sk"]
    if not 0 < len(region) <= _MAX_REGION:
        raise ValueError("not a region")
    home = Home(count_of(item["epoch"], 1, MAX_EPOCH), region)
    return Claim(home, count_of(item[VERSION], 1), is_bare=item.get(_BARE) is True)


def _pk(key: str) -> str:
    return f"home#{key}"
