"""A transport whose letters travel in covers, each sealed to the party that it is for.

What comes back is opened before it is given on, and whoever sent what does not open is as good as
silent. The letters themselves, and the answers in the covers, are signed: `letters`.
"""

from collections.abc import Mapping

from aggregator.settings import AggregatorSettings
from aggregator.transport import Transport
from federation.control.captures import Capture
from federation.covers import cover, uncover
from federation.errors import FederationError
from federation.membership import Roster
from policies.parties import PartyId


class Covered:
    """Carries signed letters over `carry`, which sees covers alone.

    capture: every letter is written there as it was signed, before it is sealed.
    """

    def __init__(
        self,
        carry: Transport,
        settings: AggregatorSettings,
        roster: Roster,
        capture: Capture | None = None,
    ) -> None:
        self._carry = carry
        self._settings = settings
        self._keys = (settings.opening,)
        self._roster = roster
        self._capture = capture

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        """Return what each party replied in time, opened, or why there is nothing of it."""
        sealed = {party: self._sealed(party, letter) for party, letter in requests.items()}
        covers = {party: one for party, one in sealed.items() if isinstance(one, bytes)}
        if self._capture is not None:
            for party in covers:
                self._capture.append(requests[party])
        waits = {party: seconds for party, seconds in sooner.items() if party in covers}
        replies = self._carry(covers, timeout, waits) if covers else {}
        return {**sealed, **{party: self._opened(party, one) for party, one in replies.items()}}

    def _sealed(self, party: PartyId, letter: bytes) -> bytes | str:
        try:
            return cover(letter, self._roster.find(party), self._settings.pin)
        except FederationError as why:
            return str(why)

    def _opened(self, party: PartyId, reply: bytes | str) -> bytes | str:
        try:
            return reply if isinstance(reply, str) else self._uncovered(reply)
        except FederationError as why:
            return f"{party} sent something unusable: {why}"

    def _uncovered(self, reply: bytes) -> bytes:
        return uncover(reply, self._keys, self._settings.party, self._settings.pin)
