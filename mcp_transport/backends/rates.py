"""The optional contract of a store that counts rate limits for all nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mcp_transport.domain.rate_limit import Charge

__all__ = ["RateStore"]


class RateStore(ABC):
    """Stores how full the buckets of rate limits are; a bucket that is empty needs no record.

    Time is that of the store, or another one that all nodes share: no clock of a node matters. Each bucket is changed
    by itself, so that one conditional update of one item is enough.
    """

    @abstractmethod
    async def settle(self, charges: Sequence[Charge]) -> Sequence[float]:
        """Add the costs of requests that were admitted; return the new fill of each bucket, in seconds.

        Nothing is refused: a fill may exceed its capacity. A charge without cost only reads. Raises: BackendError.
        """
