"""Has keys made ahead: the keyholders make them among themselves, the aggregator carries letters.

    join → begin → commit → show, four exchanges for a whole batch

Making a key takes all keyholders, opening with it only `threshold` of them. So keys are made while
the table is empty and all are there; with one away, the pool lasts for as many questions as it has
keys. A batch that a crash interrupted is taken up again: who is asked again says the same.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.errors import AbandonedError, AggregatorError
from aggregator.key_batch import forwarded, packages
from aggregator.key_pool import KeyPool
from aggregator.letters import UNREADABLE
from federation import joint_keys
from federation.joint_keys import pack, unpack
from federation.membership import Roster
from federation.messages import Kind
from policies.parties import PartyId, Role
from secure_compute.entropy import SystemEntropy

AHEAD: Final = 4
"""Keys of a batch."""

FEW: Final = 2
"""With fewer left, a batch is made when the table is empty."""

ASKED_SECONDS: Final = 20.0
IDLE_SECONDS: Final = 10.0
"""How long a keyholder is waited for: before a question, and while nobody asks anything."""

LOOK_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 60.0
"""How long until it is looked again whether all are there; and until a batch is tried, at most.

The first batch that comes to nothing is tried again after the former, and each of the next twice as
late: where a federation has just started, too few witnesses of the keyholders' ledgers are there.
"""


class NoKeyError(AbandonedError):
    """No key is left, and none can be made without everybody who holds one."""


class _StoppedError(AggregatorError):
    """A batch came to nothing, for the reason that it says."""


class _LaterError(AggregatorError):
    """An order came in; the batch goes on when the table is empty again."""


class KeyMaking:
    """Fills the pool; `waits` says whether an order waits, which then goes first."""

    def __init__(
        self,
        asking: Asking,
        pool: KeyPool,
        roster: Roster,
        threshold: int,
        waits: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asking = asking
        self._pool = pool
        self._roster = roster
        self._threshold = threshold
        self._waits = waits
        self._clock = clock
        self._not_before, self._pause = 0.0, LOOK_SECONDS
        self._holders = tuple(m.party for m in roster.active(Role.KEYHOLDER))

    def ensure(self, job: str) -> None:
        """Return if there is a key for this order; a batch is made where none is left.

        Raises:
            NoKeyError: it could not be made; the message says who is missing and what to do.
        """
        if self._pool.has(job):
            return
        try:
            joint_keys.require_holders(self._roster, self._threshold)
            self._make(ASKED_SECONDS, lambda: False)
        except (*UNREADABLE, _StoppedError) as why:
            raise NoKeyError(
                f"no key is left for a joint question, and none could be made: {why}. All "
                f"{len(self._holders)} keyholders make a key, and {self._threshold} open with it: "
                "have the one that is missing started, then ask anew. Nothing was spent."
            ) from why

    def refill(self) -> bool:
        """Make a batch if few keys are left and every keyholder is there; tell if one was made."""
        if self._clock() < self._not_before or self._pool.ready >= FEW:
            return False
        self._not_before = self._clock() + LOOK_SECONDS
        if not self._asking.are_there(self._holders):
            return False
        try:
            joint_keys.require_holders(self._roster, self._threshold)
            self._make(IDLE_SECONDS, self._waits)
        except _LaterError:
            return False
        except (*UNREADABLE, _StoppedError):
            self._not_before = self._clock() + self._pause
            self._pause = min(2 * self._pause, PAUSE_SECONDS)
            return False
        self._pause = LOOK_SECONDS
        return True

    def _make(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        """Make the batch that a crash interrupted, or else, or where it is lost, a fresh one."""
        begun = self._pool.begun()
        if begun is not None and self._see_through(begun, seconds, interrupted, last=False):
            return
        fresh = SystemEntropy().bytes(32).hex()
        self._pool.begin(fresh)
        self._see_through(fresh, seconds, interrupted, last=True)

    def _see_through(
        self, batch: str, seconds: float, interrupted: Callable[[], bool], *, last: bool
    ) -> bool:
        try:
            made = self._packages(batch, seconds, interrupted)
        except _StoppedError:
            self._pool.give_up(batch)
            if last:
                raise
            return False
        self._pool.keep(batch, made)
        return True

    def _packages(
        self, batch: str, seconds: float, interrupted: Callable[[], bool]
    ) -> dict[str, bytes]:
        """Return a batch's packages, by digest of the key."""

        def ask(kind: Kind, part: str, **blobs: Mapping[PartyId, bytes]) -> dict[PartyId, bytes]:
            if interrupted():
                raise _LaterError("an order waits")
            return self._ask(batch, kind, part, blobs, seconds)

        try:
            keys = ask(Kind.KEYS_JOIN, "key")
            epoch = joint_keys.epoch(self._roster, batch, keys.values())
            every = [joint_keys.terms(epoch, self._threshold, serial) for serial in range(AHEAD)]
            dealt = ask(Kind.KEYS_BEGIN, "deals", keys=self._all(pack(list(keys.values()))))
            said = ask(Kind.KEYS_COMMIT, "commitments", deals=forwarded(dealt))
            wires = [wire for blob in said.values() for wire in unpack(blob)]
            shown = ask(Kind.KEYS_SHOW, "parts", commitments=self._all(pack(wires)))
            return packages(self._roster, self._threshold, every, wires, shown)
        except _LaterError:
            raise
        except UNREADABLE as why:
            raise _StoppedError(f"what the keyholders sent is no key: {why}") from why
        except AggregatorError as why:
            raise _StoppedError(str(why)) from why

    def _all(self, blob: bytes) -> dict[PartyId, bytes]:
        return dict.fromkeys(self._holders, blob)

    def _ask(
        self,
        batch: str,
        kind: Kind,
        part: str,
        blobs: Mapping[str, Mapping[PartyId, bytes]],
        seconds: float,
    ) -> dict[PartyId, bytes]:
        """Return a part of everybody's answer, which is kept: after a crash nobody is asked again.

        Raises:
            _StoppedError: somebody gave none.
        """
        kept = self._pool.step(batch, kind.value)
        if kept:
            return kept
        body = {"serials": list(range(AHEAD))} if kind is Kind.KEYS_BEGIN else {}
        questions = {
            party: Question(kind, {name: each[party] for name, each in blobs.items()}, body)
            for party in self._holders
        }
        answers = self._asking.ask(batch, 0, questions, seconds)
        found = {party: answers[party].envelope.blobs.get(part) for party in answers}
        missing = [party for party in self._holders if found.get(party) is None]
        if missing:
            raise _StoppedError(f"{' and '.join(missing)} did not answer")
        said = {party: blob for party, blob in found.items() if blob is not None}
        self._pool.keep_step(batch, kind.value, said)
        return said
