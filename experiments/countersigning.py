"""An order that waits, as a person's machine reads it, and the person's signature under it.

DIR/mandates/PARTY    a party's mandate for the key of this folder (`entrepot node mandate`)

The aggregator hands over bytes. What the person is shown is read from them here, and what is signed
is their hash: other bytes, or other words about them, get no signature.
"""

from dataclasses import dataclass
from typing import Any, Final

from experiments.errors import UsageError
from experiments.peoples_door import Me
from experiments.telling import moment
from federation.countersignatures import countersign_for, item_of, taken_apart
from federation.errors import MalformedMessageError, MalformedOrderError
from federation.mandates import Mandate
from federation.orders import WorkOrder, read_order
from federation.whole_files import replace_file
from secure_compute.primitives.signature import SigningKey

FEWEST_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """An order as its bytes have it; who signed it is for nodes to find.

    said: who is named as having countersigned it. No roster lies here to verify that by.
    """

    order: WorkOrder
    said: tuple[str, ...]

    def shown(self) -> dict[str, Any]:
        """Return what a person reads before signing."""
        order = self.order
        return {
            "order": order.id,
            "kind": order.kind,
            "proposer": order.proposer,
            "purpose": order.purpose,
            "legal_basis": order.legal_basis,
            "reads": [{"contract": r.contract, "columns": [*r.columns]} for r in order.reads],
            "epsilon": order.epsilon,
            "delta": order.delta,
            "unit": order.unit,
            "releases": order.releases,
            "cohort": [*order.cohort],
            "minimum": order.minimum,
            "recipients": [*order.recipients],
            "parameters": dict(order.parameters),
            "said_to_be_countersigned": [*self.said],
            "waits_until": moment(order.waits_until),
            "expires": moment(order.expires),
        }


def look(me: Me, name: str) -> Seen:
    """Return the order whose id begins so and that waits.

    Raises:
        UsageError: too few digits; or what the aggregator hands over is another order, or none.
        NotAllowedError: nothing of the kind waits, or not for this person.
    """
    if len(name) < FEWEST_DIGITS:
        raise UsageError(f"name at least {FEWEST_DIGITS} digits of the order's id")
    try:
        wire = bytes.fromhex(str(me.ask("Waiting", order=name).get("wire")))
        order, given = read_order(wire), taken_apart(wire)[1]
    except (ValueError, MalformedOrderError) as why:
        raise UsageError(f"what the aggregator hands over is no order: {why}") from why
    if not order.id.startswith(name) or order.federation != me.federation:
        raise UsageError("the aggregator hands over another order than the one named; sign nothing")
    return Seen(order, tuple(given))


def chosen(me: Me, seen: Seen, party: str | None = None) -> Mandate:
    """Return the mandate under which an order is countersigned: that of `party`, or the only one.

    Raises:
        UsageError: there is none here, or several; or it ends before the order does.
    """
    found = _mandate(me, party)
    if found.until < seen.order.expires:
        raise UsageError(
            f"the mandate of {found.party} ends at {moment(found.until)} UTC, before the order: no "
            "node would count it. Ask the node's operator for another: entrepot node mandate "
            "FOLDER KEY"
        )
    return found


def sign(me: Me, seen: Seen, mandate: Mandate) -> dict[str, Any]:
    """Countersign an order for the party of a mandate, and hand the signature over.

    Raises:
        NotAllowedError, TurnedAwayError, NotReachedError: see `clients.calling`.
    """
    given = countersign_for(me.federation, seen.order.id, mandate, own_key(me))
    item = item_of(mandate.party, given)
    return me.ask("Countersign", order=seen.order.id, countersignature=item)


def own_key(me: Me) -> SigningKey:
    """Return the key of this folder, which never leaves it."""
    return SigningKey((me.folder / "person.key").read_bytes())


def keep_mandate(me: Me, line: str, now: float) -> Mandate:
    """Keep a party's mandate for the key of this folder, instead of an earlier one of that party.

    That the party signed it is verified by nodes. now: seconds since 1970.

    Raises:
        UsageError: it is none, for another key, or over; the earlier one stays.
    """
    try:
        found = Mandate.parse(line)
    except MalformedMessageError as why:
        raise UsageError(str(why)) from why
    if found.key != own_key(me).verify_key:
        raise UsageError("this mandate is for another key; show `entrepot person mandate` again")
    if found.until <= now:
        raise UsageError(
            f"this mandate ended at {moment(found.until)} UTC; ask {found.party} for another"
        )
    folder = me.folder / "mandates"
    folder.mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / found.party, str(found).encode(), 0o600)
    return found


def _mandate(me: Me, party: str | None) -> Mandate:
    folder = me.folder / "mandates"
    paths = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    there = {path.name: path for path in paths}
    meant = [name for name in there if party in {None, name}]
    if len(meant) != 1:
        known = ", ".join(there) or "none"
        raise UsageError(
            f"name one party whose mandate lies here with --party (there: {known}); a node's "
            "operator gives one with `entrepot node mandate FOLDER KEY`"
        )
    try:
        return Mandate.parse(there[meant[0]].read_text("ascii"))
    except (MalformedMessageError, UnicodeDecodeError) as why:
        raise UsageError(f"the mandate of {meant[0]} is damaged; ask for another") from why
