"""What people read at the people's door, as JSON: orders, roster, sessions, this ledger.

An order is shown as every node of its cohort was shown it, with how far it is. Who of the cohort
declined and why is not in it: that is the decliner's, and the ledger's for those who may read that.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from aggregator.errors import AggregatorError
from aggregator.hosting import load_hosting
from aggregator.jobs import Job, Jobs
from aggregator.record import Record
from aggregator.rosters import epochs
from aggregator.settings import AggregatorSettings, load_aggregator
from federation.errors import FederationError
from federation.ledger.export import Export
from federation.membership import Member, Roster
from federation.orders import SignedOrder, WorkOrder, open_order
from federation.people.sessions import Session
from federation.tasks import QueryTask
from federation.views import LARGEST
from policies.access.deciding import Order
from policies.parties import territory
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError

SHOWN_ID: Final = 12


class NothingYetError(AggregatorError):
    """There is no roster yet, or the ledger has shown no head, or is too large for one call."""

    exit_code = 2


class NotTakenError(AggregatorError):
    """An order that its data team may propose is not put on the table."""

    exit_code = 10


@dataclass(frozen=True)
class Known:
    """An order on the table, and what the law of the doors looks at.

    declined: how many of its cohort do not take part; stage: what was noted of it last.
    """

    job: Job
    signed: SignedOrder
    roster: Roster
    declined: int
    stage: str = ""

    @cached_property
    def resource(self) -> Order:
        """Whose it is and whom it asks; a member that has left since counts as it was."""
        order = self.signed.order
        asked = [found for party in order.cohort if (found := self._member(party))]
        proposer = self._member(order.proposer)
        places = {place for one in asked for place in _places(one)}
        organisations = frozenset(one.organisation for one in asked)
        whose = "" if proposer is None else proposer.organisation
        known = frozenset(
            one.organisation for party in order.recipients if (one := self._member(party))
        )
        return Order(self.job.id, whose, organisations, frozenset(places), known)

    def row(self) -> dict[str, JSON]:
        """Return one line of a list."""
        order = self.signed.order
        return {
            "order": self.job.id,
            "kind": order.kind,
            "purpose": order.purpose,
            "contract": order.contract,
            "epsilon": order.epsilon,
            "status": self.job.status,
            "created": order.created,
            "expires": order.expires,
            "not_before": order.not_before,
            "waits_until": order.waits_until,
            "schedule": None if order.schedule is None else asdict(order.schedule),
        }

    def shown(self) -> dict[str, JSON]:
        """Return the order as its cohort was shown it, and how far it is."""
        countersigned: list[JSON] = [*self.signed.countersigned]
        return {
            **self.row(),
            "stage": self.stage,
            "work": self.signed.order.to_json(),
            "countersigned": countersigned,
            "declined": self.declined,
        }

    def _member(self, party: str) -> Member | None:
        known = (*self.roster.members, *self.roster.former)
        return next((member for member in known if member.party == party), None)


class OrderBook:
    """The orders on the table of the aggregator in `folder`, as people may be shown them."""

    def __init__(self, folder: Path) -> None:
        settings = _founded(folder)
        self._epochs = epochs(settings)[::-1]
        self._jobs = Jobs(settings.stores.jobs)

    def all(self, asked: Callable[[Job], bool] = lambda _: True) -> Iterator[Known]:
        """Yield every order whose bytes its proposer signed; of jobs not asked for none is read."""
        yield from filter(None, map(self._known, filter(asked, self._jobs.named(""))))

    def find(self, name: str) -> Known | None:
        """Return the one order whose id begins so; at least twelve digits of it are said."""
        found = self._jobs.named(name) if len(name) >= SHOWN_ID else []
        return self._known(found[0]) if len(found) == 1 else None

    def opened(self, wire: bytes) -> Known:
        """Return an order that is not on the table yet, perhaps, as today's roster has it.

        Raises:
            MalformedOrderError, UntrustedOrderError, UnknownPartyError: see `open_order`.
        """
        signed = open_order(wire, self._epochs[0])
        return Known(Job(signed.order.id, wire, "queued", None), signed, self._epochs[0], 0)

    def put(self, known: Known, now: float) -> None:
        """Put an order on the table; twice changes nothing, and what nodes say of it is theirs.

        Raises:
            NotTakenError: it neither trains nor asks, or asks without a key of its own for the
                answer; it is over, or its proposer is suspended.
            MalformedOrderError: its parameters are those of no question.
        """
        _require_takeable(known.signed.order, known.roster, now)
        self._jobs.add(known.job.id, known.job.wire, now)

    def _known(self, job: Job) -> Known | None:
        found = next(filter(None, (_opened(job.wire, roster) for roster in self._epochs)), None)
        if found is None:
            return None
        signed, roster = found
        notes = [note for _, note in self._jobs.notes(job.id)]
        declined = [note.get("declined", 0) for note in notes if note.get("stage") == "offered"]
        stage = str(notes[-1].get("stage", "")) if notes else ""
        return Known(job, signed, roster, int(declined[-1]) if declined else 0, stage)


def _opened(wire: bytes, roster: Roster) -> tuple[SignedOrder, Roster] | None:
    """Return an order as one epoch has it, whoever left or changed its key since."""
    try:
        return open_order(wire, roster), roster
    except (FederationError, SecureComputeError):
        return None


def _require_takeable(order: WorkOrder, roster: Roster, now: float) -> None:
    if order.kind not in {"train", "query"}:
        raise NotTakenError(f"people train and ask here, and this order is to {order.kind}")
    if order.kind == "query" and not QueryTask.from_json(order.parameters).sealing:
        raise NotTakenError("the question names no key that its answer is sealed to; ask anew")
    if now >= order.expires:
        raise NotTakenError("the order has expired; propose it anew")
    if order.proposer in roster.suspended:
        raise NotTakenError(f"{order.proposer} is suspended, so it proposes nothing")


def roster_json(folder: Path, *, chain: bool = False) -> dict[str, JSON]:
    """Return who is in, at the last epoch; with the chain whoever has the pin verifies it.

    Raises:
        NothingYetError: the federation is not founded yet.
    """
    settings = _founded(folder)
    roster = settings.roster()
    members: list[JSON] = [
        {**member.to_json(), "suspended": member.party in roster.suspended}
        for member in roster.members
    ]
    return {
        "federation": roster.federation,
        "pin": settings.pin,
        "epoch": roster.epoch,
        "digest": roster.digest,
        "colluding": roster.colluding,
        "members": members,
        **({"chain": settings.chain.read_bytes().hex()} if chain else {}),
    }


def ledger_json(folder: Path, now: float) -> dict[str, JSON]:
    """Return the aggregator's ledger as an export that is verified offline.

    Raises:
        NothingYetError: it has signed nothing yet, or is larger than one answer.
    """
    settings = _founded(folder)
    key, roster = settings.identity, settings.roster()
    found = Record(settings.ledger, settings.party, key, roster, lambda: now).exported()
    if found is None:
        raise NothingYetError("the ledger has shown nobody a head yet; run something first")
    data = Export(roster.federation, (found,)).to_bytes()
    if len(data) > LARGEST:
        raise NothingYetError(
            f"the ledger is larger than {LARGEST} bytes; let the aggregator's operator run "
            "`entrepot audit prove --out FILE`"
        )
    return {"export": canonical.decode(data)}


def _founded(folder: Path) -> AggregatorSettings:
    if not load_hosting(folder).pin:
        raise NothingYetError("the federation is not founded yet, so there is nothing to read")
    return load_aggregator(folder)


def session_json(session: Session) -> dict[str, JSON]:
    """Return a session as it is listed; what is shown opens nothing."""
    return {
        "id": session.id,
        "person": session.seat.person,
        "begun": int(session.begun),
        "seen": int(session.seen),
        "shown": int(session.shown),
    }


def _places(member: Member) -> tuple[str, str]:
    return member.jurisdiction.value, territory(member.jurisdiction)
