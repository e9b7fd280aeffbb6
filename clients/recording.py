"""What this node writes into its own ledger, besides what its books write themselves.

What was decided and why, what left and under which rule, which law and which contracts were in
force. Entries are digests, names and counts; nothing of a row has a field to stand in.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from clients.books import Books
from clients.consent import agreed
from clients.policy import load_packs
from clients.reuse import MayRepeat
from clients.settings import NodeSettings
from clients.verdicts import Refusal
from federation.envelopes import Envelope
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.epochs import news, require_known
from federation.membership import Roster
from federation.messages import OWN_FIGURES, Kind
from federation.orders import WorkOrder
from policies.contracts import DataContract
from policies.errors import NoMechanismError
from policies.exports import groups_of
from policies.transfers import rule_for
from secure_compute.canonical import JSON

FIGURES: Final = OWN_FIGURES | {Kind.QUERY_OPENED}
"""Kinds of replies in which something computed from rows stands."""

NO_RULE: Final = "none"
"""Written where no mechanism is on record; the law refuses before it comes to that."""


class Recorder:
    """Writes for one node; `policy` is the digest of the law in force."""

    def __init__(
        self,
        settings: NodeSettings,
        roster: Roster,
        books: Books,
        policy: str,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._books = books
        self._policy = policy
        self._now = now
        self._known = load_packs(settings.folder / "policy")
        consent = agreed(settings.folder, *roster.keys_of(settings.party))
        self._card = None if consent is None else consent.card
        self._nobodys: set[str] = set()  # contracts that name no person

    def began(self, contracts: Mapping[str, DataContract]) -> None:
        """The node has started: whatever changed since the last start stands in the ledger.

        Raises:
            ForkedRosterError, OlderRosterError: the ledger knows another roster than the folder.
        """
        self._nobodys = {name for name, one in contracts.items() if not groups_of(one)}
        known = self._books.entries()
        require_known(known, self._settings.epochs())
        changes = [
            *self._joined(known),
            *self._policy_changed(known),
            *self._contracts_changed(known, contracts),
            *news(known, self._roster, int(self._now())),
        ]
        if changes:
            self._books.note(*changes)

    def approved(self, order: str, rules: Sequence[str] = ()) -> None:
        """The law permits an order; nothing of it has left yet.

        rules: under which its results go to whoever has a part in them, and whose word it rests on.
        """
        self._books.note(self._approved(order, rules))

    def delivered(
        self, order_id: str, repeated: MayRepeat, order: WorkOrder, rules: Sequence[str] = ()
    ) -> None:
        """A release that was made here may be given out again, to the recipients of `order`.

        rules: under which it goes to them.
        """
        recipients = list(dict.fromkeys([order.proposer, *order.recipients]))
        body: dict[str, JSON] = {"past": repeated.past, "recipients": [*recipients]}
        given = self._entry(EntryKind.DELIVERED, order_id, body)
        self._books.note(self._approved(order_id, rules), given)

    def _approved(self, order: str, rules: Sequence[str]) -> Entry:
        body: dict[str, JSON] = {"policy": self._policy, "reasons": [*rules]}
        return self._entry(EntryKind.APPROVED, order, body)

    def refused(self, order: str, refusal: Refusal) -> None:
        """An order was refused, for every one of these reasons."""
        reasons = [reason.id for reason in refusal.reasons]
        body: dict[str, JSON] = {"policy": self._policy, "kind": refusal.kind, "reasons": reasons}
        self._books.note(self._entry(EntryKind.REFUSED, order, body))

    def left(self, reply: Envelope, size: int, order: WorkOrder | None) -> None:
        """A reply of `size` bytes is about to leave; `order` is what a release was made for.

        Raises:
            OSError, sqlalchemy.exc.SQLAlchemyError: it cannot be written down; it must not leave.
        """
        rule = self._rule(reply, order)
        here = self._settings.jurisdiction
        there = self._roster.find(reply.recipient).jurisdiction
        entries = []
        if order is not None:
            body: dict[str, JSON] = {"recipients": list(order.recipients), "rule": rule}
            entries.append(self._entry(EntryKind.RELEASED, reply.order, body))
        if order is not None or here != there:
            crossing: dict[str, JSON] = {
                "kind": reply.kind.value,
                "recipient": reply.recipient,
                "origin": here.value,
                "destination": there.value,
                "bytes": size,
                "rule": rule,
            }
            entries.append(self._entry(EntryKind.CROSSED, reply.order, crossing))
        if entries:
            self._books.note(*entries)

    def _rule(self, reply: Envelope, order: WorkOrder | None) -> str:
        there = self._roster.find(reply.recipient).jurisdiction
        read = {one.contract for one in order.reads} if order is not None else set()
        personal = not read <= self._nobodys
        today = datetime.fromtimestamp(self._now(), UTC).date()
        try:
            here = self._settings.jurisdiction
            return rule_for(
                here, there, personal, place="aggregator", on=today, known=self._known
            ).id
        except NoMechanismError:
            return NO_RULE

    def _joined(self, known: Sequence[Entry]) -> list[Entry]:
        if any(entry.kind is EntryKind.JOINED for entry in known):
            return []
        body: dict[str, JSON] = {
            "party": self._settings.party,
            "role": self._settings.role.value,
            "jurisdiction": self._settings.jurisdiction.value,
            "identity": self._settings.identity.verify_key.hex,
            "epoch": self._roster.epoch,
            "contact": "",
        }
        if self._card is not None:
            body["card"] = self._card
        return [self._entry(EntryKind.JOINED, "", body)]

    def _policy_changed(self, known: Sequence[Entry]) -> list[Entry]:
        before = [e.body["policy"] for e in known if e.kind is EntryKind.POLICY_CHANGED]
        previous = before[-1] if before else ""
        if previous == self._policy:
            return []
        body: dict[str, JSON] = {"policy": self._policy, "previous": previous}
        return [self._entry(EntryKind.POLICY_CHANGED, "", body)]

    def _contracts_changed(
        self, known: Sequence[Entry], contracts: Mapping[str, DataContract]
    ) -> list[Entry]:
        before = {
            e.body["contract"]: e.body["digest"]
            for e in known
            if e.kind is EntryKind.CONTRACT_CHANGED
        }
        changed = []
        for name, digest in self._settings.contract_digests().items():
            if before.get(name) != digest:
                body: dict[str, JSON] = {
                    "contract": name,
                    "version": contracts[name].version,
                    "digest": digest,
                }
                changed.append(self._entry(EntryKind.CONTRACT_CHANGED, "", body))
        return changed

    def _entry(self, kind: EntryKind, order: str, body: Mapping[str, JSON]) -> Entry:
        return Entry(kind, int(self._now()), order, body)
