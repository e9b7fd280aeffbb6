"""What came is opened before anybody reads it, and what leaves is sealed to the aggregator.

A request is known again by the signed message in it: sealed a second time it is other bytes, and
the same request. Answers are kept as they were signed, and sealed anew each time they are given.
"""

from collections.abc import Callable

from clients.inbox import Inbox, request_key
from clients.once import Once
from clients.settings import NodeSettings
from federation.control.captures import Capture
from federation.covers import cover, uncover
from federation.envelopes import is_signed_by, open_own, seal
from federation.errors import FederationError
from federation.membership import Roster


class SealedOnce(Once):
    """A `Once` whose requests and answers travel in covers.

    capture: every answer is written there as it was signed, before it is sealed.
    """

    def __init__(
        self,
        handler: Callable[[bytes], bytes],
        inbox: Inbox,
        passing: Callable[[bytes], bool],
        settings: NodeSettings,
        roster: Roster,
        capture: Capture | None = None,
    ) -> None:
        super().__init__(handler, inbox, passing)
        self._settings = settings
        self._roster = roster
        self._capture = capture

    def __call__(self, payload: bytes) -> bytes:
        """The answer to the request in a cover, in one.

        Raises:
            MalformedMessageError, MisdirectedMessageError: it is no cover for this node.
            UnsealableError: the aggregator has no sealing key.
            ForgottenAnswerError: see `Once`.
        """
        reply = self._signed_today(super().__call__(self._opened(payload)))
        sealed = cover(reply, self._roster.find(self._settings.aggregator), self._settings.pin)
        if self._capture is not None:
            self._capture.append(reply)
        return sealed

    def _signed_today(self, reply: bytes) -> bytes:
        """Return an answer as it is, or signed anew where the node has changed its key since."""
        party, aggregator = self._settings.party, self._settings.aggregator
        if is_signed_by(reply, self._roster.find(party).identity):
            return reply
        own = open_own(reply, self._roster, party, aggregator)
        return seal(own, self._settings.identity)

    def named(self, payload: bytes) -> str:
        """The name of the request in a cover, or of the bytes where they are none."""
        try:
            return request_key(self._opened(payload))
        except FederationError:
            return request_key(payload)

    def _opened(self, payload: bytes) -> bytes:
        return uncover(payload, self._settings.openings, self._settings.party, self._settings.pin)
