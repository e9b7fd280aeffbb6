"""Orders that wait for a second organisation, and the countersignature of a person under one.

    Countersigning(folder).waiting(now)                     # what officers are shown
    Countersigning(folder).take(known, signed, person, now) # a signature made on a person's machine

Nothing is signed here. What comes is held against who is logged in, and then verified by what every
node verifies it by: the member's mandate for the key, and the key's signature under this order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aggregator.errors import AggregatorError
from aggregator.jobs import FINAL, Job, Jobs
from aggregator.people_views import Known, OrderBook
from aggregator.proposing import OVER
from aggregator.record import Record
from aggregator.settings import load_aggregator
from federation.countersignatures import ByPerson, attached, taken_apart
from federation.membership import Roster
from federation.orders import open_order
from federation.people.persons import Person
from policies.access.deciding import access_law
from policies.parties import PartyId
from secure_compute.canonical import JSON

_TRIES: Final = 8
"""So often somebody else signs between reading and writing, before who comes is sent away."""


class NotCountersignedError(AggregatorError):
    """A countersignature is not taken: of this person, at this moment, or for this order."""

    exit_code = 10


class Countersigning:
    """The orders of the aggregator in `folder` that may still be countersigned."""

    def __init__(self, folder: Path) -> None:
        self._settings = load_aggregator(folder)
        self._book = OrderBook(folder)
        self._jobs = Jobs(self._settings.stores.jobs)

    def waiting(self, now: float) -> Iterator[Known]:
        """Yield the orders that wait for people until some moment that has not come."""
        going = self._book.all(lambda job: job.status not in FINAL)
        yield from (one for one in going if self._waits(one.job, one, now))

    def take(self, known: Known, party: PartyId, signed: ByPerson, who: Person, now: float) -> bool:
        """Put a person's countersignature for `party` under an order; False if it was there.

        Raises:
            NotCountersignedError: it is not this person's to give, or the order waits no longer.
            UntrustedOrderError, UnknownPartyError: no node would believe it.
        """
        own = self._settings
        roster = own.roster()
        _require_own(roster, party, signed, who)
        is_new = self._put(known, party, signed, roster, now)
        record = Record(own.ledger, own.party, own.identity, roster, lambda: now)
        record.countersigned(known.job.id, party, access_law().digest)
        return is_new

    def _put(
        self, known: Known, party: PartyId, signed: ByPerson, roster: Roster, now: float
    ) -> bool:
        for _ in range(_TRIES):
            job = self._jobs.find(known.job.id)
            if job is None or not self._waits(job, known, now):
                raise NotCountersignedError("the order waits for nobody any more")
            _, given = taken_apart(job.wire)
            counts = party in open_order(job.wire, roster).countersigned
            if counts and given[party] == signed:
                return False
            if counts:
                raise NotCountersignedError(f"{party} has countersigned this order already")
            wire = attached(job.wire, {**given, party: signed})
            if party not in open_order(wire, roster).countersigned:
                raise NotCountersignedError(
                    f"the mandate is by a key that {party} has given up; ask its operator for "
                    "another: entrepot node mandate FOLDER KEY"
                )
            if self._jobs.countersign(job.id, job.wire, wire):
                return True
        raise NotCountersignedError("others sign this order at this moment; try again")

    def _waits(self, job: Job, known: Known, now: float) -> bool:
        order = known.signed.order
        is_open = job.status not in FINAL and now < min(order.waits_until, order.expires)
        return is_open and OVER not in self._jobs.proposals(job.id)


def waiting_json(known: Known) -> dict[str, JSON]:
    """Return one line of the list of orders that wait."""
    order = known.signed.order
    cohort: list[JSON] = [*order.cohort]
    recipients: list[JSON] = [*order.recipients]
    countersigned: list[JSON] = [*known.signed.countersigned]
    return {
        **known.row(),
        "proposer": order.proposer,
        "delta": order.delta,
        "unit": order.unit,
        "cohort": cohort,
        "recipients": recipients,
        "countersigned": countersigned,
    }


def _require_own(roster: Roster, party: PartyId, signed: ByPerson, who: Person) -> None:
    """Return if whoever is logged in may sign for this party with this key."""
    if signed.mandate.key != who.key:
        raise NotCountersignedError(
            "the mandate is for another key than the one you enrolled with; show `entrepot person "
            "mandate` to your node's operator and ask for another"
        )
    if roster.find(party).organisation != who.seat.organisation:
        raise NotCountersignedError(f"{party} is not of {who.seat.organisation}")
    if party in roster.suspended:
        raise NotCountersignedError(f"{party} is suspended, so what it signs counts for nothing")
