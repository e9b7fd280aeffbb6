"""Each distinct request is computed once, and answered alike for ever, whatever carries it."""

import time
from collections.abc import Callable
from typing import Protocol

from clients.errors import ClientError
from clients.inbox import Inbox, request_key
from clients.turns import Turns
from federation.envelopes import parse
from federation.errors import FederationError
from federation.messages import Kind


class ForgottenAnswerError(ClientError):
    """The request was answered long ago; a second answer would be a second release."""


class Answers(Protocol):
    """What the loops of a node know of whoever answers for it."""

    @property
    def inbox(self) -> Inbox:
        """Where what was asked and answered stands."""

    def __call__(self, payload: bytes) -> bytes:
        """The answer to the request, the same for ever."""

    def named(self, payload: bytes) -> str:
        """The name under which a request is known again."""


class Once:
    """A handler that computes each distinct request once, and remembers the answer durably.

    An answer that `passing` knows for one of the moment is given and not remembered: asked again,
    the handler may say something else.
    """

    def __init__(
        self,
        handler: Callable[[bytes], bytes],
        inbox: Inbox,
        passing: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        self._handler = handler
        self._passing = passing
        self.inbox = inbox
        self._turns = Turns()

    def __call__(self, payload: bytes) -> bytes:
        """The answer to the request, the same for ever.

        Raises:
            ForgottenAnswerError: it was given too long ago to be still here.
        """
        request = request_key(payload)
        with self._turns.of(request):
            given = self.inbox.answer(request)
            if given is None:
                made = self._handler(payload)
                if self._passing(made):
                    return made
                return self.inbox.keep(request, made, time.time())
        if given.payload is None:
            message = "This request was answered before, and the answer was cleared away."
            raise ForgottenAnswerError(message)
        return given.payload

    def named(self, payload: bytes) -> str:
        """The name under which a request is known again."""
        return request_key(payload)


def is_of_the_moment(answer: bytes) -> bool:
    """Return whether an answer says only how things are now: which roster a process works with, or
    what a word of witnesses, or a person's, may change.

    Asked again, once that has changed, the answer is another.
    """
    try:
        said = parse(answer)
        waits = said.kind is Kind.REFUSED and said.body.get("kind") == "approval"
        now = {Kind.LEDGER_UNSURE, Kind.WAITING, Kind.WILLING, Kind.ROSTER_KNOWN}
        return said.kind in now or waits
    except FederationError:
        return False
