"""What the coordinator knows of whatever carries its letters."""

from collections.abc import Mapping
from typing import Final, Protocol

from policies.parties import PartyId

UNREGISTERED: Final = "not registered"
UNREACHABLE: Final = "unreachable"
LATE: Final = "no reply in time"
FAILED: Final = "the node failed; its operator finds why in its log"
"""Why there is no reply, in the same words whatever carries the letters."""


class Transport(Protocol):
    """Carries sealed letters out and brings sealed replies back."""

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        """Return a reply per party, or the reason why there is none.

        sooner: the parties that are waited for less long than `timeout` seconds, and how long.
        """
        ...


class Exchanging(Protocol):
    """Carries envelopes; what comes back is a reply or a loss with a `reason`."""

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float, *, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, object]:
        """Return what came of each request."""
        ...


def as_transport(exchange: Exchanging) -> Transport:
    """Return a transport whose losses are plain sentences."""

    def carry(
        requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        replies = exchange(requests, timeout, sooner=sooner)
        return {
            party: reply if isinstance(reply, bytes) else str(getattr(reply, "reason", reply))
            for party, reply in replies.items()
        }

    return carry
