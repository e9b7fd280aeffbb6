"""What a keyholder demands before it helps to open an answer, and then its sealed partials.

One list of a query is expected, on disk and in the log, while it is being signed; once it is
certified it is bound, and no other ever is. What is answered are fixed strings, sealed to whoever
signed the order.

A copy of `keys.sqlite` put back alone has not bound what the log says was opened: its keys are
given up, and other pools serve. A copy of the whole folder is found by witnesses, who have cosigned
every opening before a partial leaves.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from clients.errors import RefusedWorkError
from clients.key_store import KeyStore, Opening
from clients.settings import NodeSettings
from federation.joint_keys import unpack
from federation.joint_questions import question_of
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.sealed_answers import Origin, seal
from federation.secure_sums import signers
from federation.tasks import QueryTask
from secure_compute.entropy import Entropy
from secure_compute.primitives.seed_stream import SEED_SIZE
from secure_compute.threshold import ciphertext, keyholder, pool
from secure_compute.threshold.ciphertext import Total
from secure_compute.threshold.listing import Commitment, Endorsement, Listing, listing
from secure_compute.threshold.pool import Keyholder
from secure_compute.threshold.terms import Terms

log = logging.getLogger(__name__)


class Told(Protocol):
    """What the node's log says was opened, and where that is written down."""

    def opened(self, order: str) -> str:
        """Return the listing that was opened for an order, or was about to be; "" for none."""
        ...

    def open(self, order: str, listing: str) -> None:
        """Write down that `listing` is about to be opened for `order`; durable."""
        ...

    def number(self, order: str) -> int | None:
        """Return the number of the log's entry that says so."""
        ...

    def openings(self) -> Mapping[str, str]:
        """Return every listing that was opened, by order."""
        ...


@dataclass(frozen=True, slots=True)
class Bound:
    """A list that this node opens, under one of its keys."""

    listing: Listing
    terms: Terms
    opening: Opening


class Opener:
    """The openings of one keyholder."""

    def __init__(
        self,
        settings: NodeSettings,
        roster: Roster,
        store: KeyStore,
        entropy: Entropy,
        told: Told,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._store = store
        self._entropy = entropy
        self._told = told

    def expect(self, order: WorkOrder, name: str, commitments: bytes) -> None:
        """Write down the one list of a query, in the store and in the log, before it is certified.

        name: id of the key. The order names none: the letter does, and everything else of the key
              is this node's own.

        Raises:
            RefusedWorkError: the key is none of this node's, or too few open it.
            RefusedRequestError: another list of the query is expected, or the key serves another.
            FederationError, SecureComputeError: the list is not of this order.
        """

        def step(state: Keyholder, listed: Listing) -> Keyholder:
            return keyholder.expect(state, signers(self._roster), name, listed)

        self._written(order, name, commitments, step)

    def bind(self, order: WorkOrder, name: str, commitments: bytes, endorsements: bytes) -> Bound:
        """Bind the one list of a query, in the store and in the log; name: as in `expect`.

        Raises:
            RefusedWorkError: the key is none of this node's, or too few open it.
            RefusedRequestError: another list of the query was bound, or the key serves another.
            FederationError, SecureComputeError: the list is not certified, or not of this order.
        """
        signed = [Endorsement.read(wire) for wire in unpack(endorsements)]

        def step(state: Keyholder, listed: Listing) -> Keyholder:
            return keyholder.bind(state, signers(self._roster), name, listed, signed)

        return self._written(order, name, commitments, step)

    def _written(
        self,
        order: WorkOrder,
        name: str,
        commitments: bytes,
        changed: Callable[[Keyholder, Listing], Keyholder],
    ) -> Bound:
        self.require_current()
        said = [Commitment.read(wire) for wire in unpack(commitments)]
        made: list[tuple[Listing, Terms]] = []

        def step(state: Keyholder) -> tuple[Keyholder, str]:
            key = state.key(name)
            require_threshold(self._settings, key.terms)
            listed = listing(question_of(order, self._roster, key.terms, key.digest), said)
            after = changed(state, listed)
            made.append((listed, key.terms))
            return after, listed.digest

        opening = self._store.bind(self._new(order, name), self._store.pool_of(name), step)
        if not self._told.opened(order.id):
            self._told.open(order.id, opening.listing)
        return Bound(*made[-1], opening)

    def entry(self, query: str) -> int | None:
        """Return the number of the log's entry that names the list of a query."""
        return self._told.number(query)

    def partials(
        self,
        bound: Bound,
        order: WorkOrder,
        shown: Mapping[str, bytes],
        places: Sequence[int] | None,
    ) -> bytes:
        """Return this node's partials of the sum it adds up itself, sealed to the order's key.

        shown:  every listed party's chunks, packed.
        places: of the pieces to answer for; None for all that are held.

        Raises:
            FaultyPartyError: a ciphertext is not what its party committed to.
            SecureComputeError: a ciphertext is missing; a place is not held; the key is retired.
        """
        chunks = {party: unpack(blob) for party, blob in shown.items()}
        totals = [self._total(bound, at, chunks) for at in range(self._chunks(bound))]
        held = bound.terms.held_by(self._settings.party) if places is None else places
        sign, name = self._settings.identity.sign, bound.terms.digest
        state = self._store.change(self._store.pool_of(name), lambda known: (known, known))
        parts = [
            keyholder.partial(state, name, total, place, sign).to_bytes()
            for total in totals
            for place in held
        ]
        sealing = bytes.fromhex(QueryTask.from_json(order.parameters).sealing)
        origin = Origin(order.id, self._settings.party, bound.listing.digest)
        return seal(parts, sealing, origin, bound.opening.secret)

    def retire(self, query: str) -> None:
        """Delete the pieces of the key that served a query, if any did: it is over."""
        found = self._store.openings().get(query)
        if found is not None and found.secret:
            with suppress(RefusedWorkError):  # its pool was given up, and the pieces with it
                owner = self._store.pool_of(found.key)
                self._store.change(owner, lambda state: (pool.retire(state, found.key), None))
            self._store.retired(query)
            self._store.wipe()

    def retire_expired(self, now: float) -> None:
        """Delete the pieces of all keys that served queries whose orders have expired."""
        for query, opening in self._store.openings().items():
            if opening.secret and opening.expires <= now:
                self.retire(query)

    def require_current(self) -> None:
        """Give up the keys of an old copy: one that does not know what the log says was opened."""
        named = self._told.openings()  # first: a list is in the file before it is in the log
        known = self._store.openings()
        missing = {
            query: listed
            for query, listed in named.items()
            if query not in known or known[query].listing != listed
        }
        if missing:
            log.warning(
                "keys.sqlite does not know %d lists that this node's log says it opened: it is an "
                "old copy, and its keys are given up",
                len(missing),
            )
            self._store.give_up(missing)

    def _new(self, order: WorkOrder, name: str) -> Callable[[str], Opening]:
        secret = self._entropy.bytes(SEED_SIZE)
        return lambda listed: Opening(order.id, listed, name, secret, order.expires)

    def _chunks(self, bound: Bound) -> int:
        return bound.listing.question.layout.chunks

    def _total(self, bound: Bound, at: int, chunks: Mapping[str, Sequence[bytes]]) -> Total:
        shown = {party: wires[at] for party, wires in chunks.items() if at < len(wires)}
        return ciphertext.add(bound.listing, at, shown)


def require_threshold(settings: NodeSettings, terms: Terms) -> None:
    """Accept a key that enough keyholders must open together, for this node's own settings.

    Raises:
        RefusedWorkError: fewer do than `keys.threshold` says, or no more than may collude.
    """
    if terms.threshold < settings.threshold or terms.threshold <= settings.colluding:
        raise RefusedWorkError(
            f"{terms.threshold} keyholders open this key; this node wants {settings.threshold}, "
            f"and more than the {settings.colluding} that may collude: raise keys.threshold"
        )
