"""A person looks at an order that waits at a node, and says yes, no, or yes to all like it.

`entrepot node approve` and `entrepot node countersign`. What is shown comes from the order, the
node's contracts, law and books; no row is read. A person's word is signed with the person's own
key and kept in the node's folder; the node that runs writes down under whose word it accepted an
order. Envelopes and their ends are entries of the log at once.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from clients.approvals import KEY, Approvals, approver_key
from clients.consents import Said, Statement, say
from clients.consulting import books_of, judge_of
from clients.judgement import Judge
from clients.outbox import Outbox
from clients.persons import Persons, given_entry, kept_form, withdrawn_entry
from clients.policy import load_policy
from clients.settings import NodeSettings, load_settings
from clients.standing import DAY, Standing, like, read_standing
from experiments.accounts import open_books
from experiments.errors import UsageError
from experiments.explaining import account_changes
from experiments.order_changes import changes
from experiments.planning import asked_at
from experiments.telling import moment
from federation.countersignatures import attached, countersign, taken_apart
from federation.errors import FederationError
from federation.ledger.entries import EntryKind
from federation.membership import Roster
from federation.orders import SignedOrder, WorkOrder, open_order
from federation.queries.explaining import expected_errors
from federation.tasks import QueryTask, TrainingTask, sums_of
from secure_compute import canonical

FEWEST_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Pending:
    """An order that waits at one node, with what judges it."""

    settings: NodeSettings
    judge: Judge
    signed: SignedOrder

    @property
    def order(self) -> WorkOrder:
        """What it asks for."""
        return self.signed.order

    def shown(self) -> dict[str, Any]:
        """Return what a person is shown before saying anything."""
        order = self.order
        asked = self.judge.asked(self.signed)
        last = self._last()
        books = open_books(self.settings.folder)
        return {
            "schema": "entrepot.node.approve/1",
            "order": order.id,
            "kind": order.kind,
            "asks": order.proposer,
            "purpose": order.purpose,
            "legal_basis": order.legal_basis,
            "reads": [
                {"contract": read.contract, "version": read.version, "columns": list(read.columns)}
                for read in order.reads
            ],
            "what": what_of(order),
            "leaves": leaves_of(order),
            "learns": sorted(asked.informed),
            "asked": [party for party in order.cohort if party != self.settings.party],
            "minimum": order.minimum,
            "epsilon": order.epsilon,
            "most": None if asked.epsilon is None else format(asked.epsilon, "f"),
            "delta": order.delta,
            "unit": order.unit,
            "accounts": [
                {key: one[key] for key in ("dataset", "unit", "window", "cost", "left", "limit")}
                for one in account_changes(self.settings.party, asked_at(books, order))
            ],
            "errors": errors_of(order),
            "rules": [
                {"id": reason.id, "law": reason.law, "en": reason.text_en, "zh": reason.text_zh}
                for reason in self.judge.asking(self.signed)
            ],
            "countersigned": list(self.signed.countersigned),
            "since": None if last is None else last.id,
            "changes": [] if last is None else [one.to_json() for one in changes(last, order)],
            "waits_until": moment(order.waits_until),
            "schedule": turn_of(order),
        }

    def say(self, said: Said, person: str, reason: str, key: Path | None) -> str:
        """Sign a person's word and keep it in the node's folder; return the person's public key.

        Raises:
            RefusedWorkError: the order was answered already.
            NodeSettingsError: person or reason is empty, or the key cannot be read.
        """
        word = word_of(self.settings, self.order.id, said, person, reason)
        signing = approver_key(key or self.settings.folder / KEY)
        signed = say(word, signing, self.settings.identity)
        Approvals(self.settings.folder).answer(self.order.id, canonical.encode(signed.to_json()))
        return signing.verify_key.hex

    def countersign(self) -> None:
        """Put this party's name to the order, for the aggregator to carry to the others.

        Raises:
            UntrustedOrderError: this party is of an organisation that may not.
        """
        settings, order = self.settings, self.order
        signature = countersign(settings.federation, order.id, settings.party, settings.identity)
        _, given = taken_apart(self.signed.wire)
        open_order(
            attached(self.signed.wire, {**given, settings.party: signature}), self.judge.roster
        )
        Approvals(settings.folder).countersign(order.id, signature)

    def like(self, times: int, days: int) -> Standing:
        """Return the envelope of orders like this one.

        Raises:
            NodeSettingsError: it tells who is in both sets, or a number makes no sense.
        """
        asked = self.judge.asked(self.signed)
        return like(asked, times=times, days=days, expires=int(asked.now) + days * DAY)

    def _last(self) -> WorkOrder | None:
        """Return the order of its kind that was accepted here last."""
        outbox = Outbox(self.settings.folder / "outbox.sqlite")
        for entry in reversed(self.judge.books.entries()):
            wire = outbox.accepted(entry.order) if entry.kind is EntryKind.APPROVED else None
            if wire is not None and entry.order != self.order.id:
                found = _opened(wire, self.judge.roster)
                if found is not None and found.kind == self.order.kind:
                    return found
        return None


def _opened(wire: bytes, roster: Roster) -> WorkOrder | None:
    """Return an order of before; None where who signed it has left, or has another key now."""
    try:
        return open_order(wire, roster).order
    except FederationError:
        return None


def what_of(order: WorkOrder) -> str:
    """Return what is computed, in the words of who asks."""
    if order.kind == "query":
        return QueryTask.from_json(order.parameters).sql
    if order.kind == "train":
        task = TrainingTask.from_json(order.parameters)
        return f"{task.model}, {task.rounds} rounds"
    return str(order.parameters.get("match", "match"))


def leaves_of(order: WorkOrder) -> str:
    """Return which kind of thing leaves this node for the order, as `words.toml` names it."""
    if order.kind == "query":
        return "query.revealed"
    if order.kind == "match":
        return "match.said"
    return "train.update" if sums_of(order) is None else "sum.upload"


def turn_of(order: WorkOrder) -> dict[str, int] | None:
    """Return which order of its schedule one is, as its proposer signed; None for one alone."""
    return None if order.schedule is None else asdict(order.schedule)


def errors_of(order: WorkOrder) -> list[dict[str, Any]]:
    """Return the 95 % error of each column of an answer; nothing for what is no question."""
    if order.kind != "query":
        return []
    task = QueryTask.from_json(order.parameters)
    found = expected_errors(task.plan, task.noise_multiplier, len(order.cohort))
    return [{"label": one.label, "error": one.error, "unit": one.unit} for one in found]


def pending(folder: Path, beginning: str) -> Pending:
    """Return the one order that waits at the node in `folder` and begins so.

    Raises:
        UsageError: none does, or several do.
        FederationError: what waits is not signed by an analyst of the roster.
    """
    settings = load_settings(folder)
    return _one(settings, beginning, Approvals(settings.folder).kept())


def known(folder: Path, beginning: str) -> Pending:
    """Return the one order that waits at a node, or was accepted there, and begins so.

    Raises:
        UsageError, FederationError: see `pending`.
    """
    settings = load_settings(folder)
    outbox = Outbox(settings.folder / "outbox.sqlite")
    found = {
        entry.order: outbox.accepted(entry.order)
        for entry in books_of(settings).entries()
        if entry.kind is EntryKind.APPROVED and entry.order.startswith(beginning)
    }
    accepted = {order: wire for order, wire in found.items() if wire is not None}
    return _one(settings, beginning, {**accepted, **Approvals(settings.folder).kept()})


def _one(settings: NodeSettings, beginning: str, among: Mapping[str, bytes]) -> Pending:
    names = [n for n in among if n.startswith(beginning)] if len(beginning) >= FEWEST_DIGITS else []
    if len(names) != 1:
        listed = ", ".join(name[:12] for name in among) or "nothing"
        raise UsageError(
            f"no one order that waits here begins with {beginning!r}; waiting: {listed}"
        )
    judge = judge_of(settings)
    return Pending(settings, judge, open_order(among[names[0]], judge.roster))


def is_disclosure(folder: Path, beginning: str) -> bool:
    """Return whether what waits and begins so tells who is in both sets: consents are for that."""
    found = Approvals(folder).kept()
    names = [name for name in found if name.startswith(beginning)]
    roster = load_settings(folder).roster()
    orders = [open_order(found[name], roster).order for name in names]
    return bool(orders) and all(order.kind == "match" and not order.event for order in orders)


def overview(folder: Path) -> dict[str, Any]:
    """Return what waits at a node, and the envelopes that hold, with what is left of them."""
    settings = load_settings(folder)
    roster, now = settings.roster(), time.time()
    opened = [_opened(wire, roster) for wire in Approvals(folder).waiting().values()]
    persons = Persons(settings, Approvals(settings.folder), books_of(settings))
    return {
        "schema": "entrepot.node.approve.list/1",
        "waiting": [
            {
                "order": order.id,
                "kind": order.kind,
                "asks": order.proposer,
                "purpose": order.purpose,
                "epsilon": order.epsilon,
                "until": moment(order.waits_until or order.expires),
                "schedule": turn_of(order),
            }
            for order in opened
            if order is not None and order.expires > now
        ],
        "standing": [
            _envelope(name, kept.standing, kept.word.person, persons)
            for name, kept in persons.envelopes().items()
        ],
    }


def _envelope(name: str, standing: Standing, person: str, persons: Persons) -> dict[str, Any]:
    lately = time.time() - standing.days * DAY
    used = [use for use in persons.uses(name) if use.at > lately]
    spent = sum((use.epsilon for use in used), start=standing.epsilon * 0)
    return {
        "id": name,
        "person": person,
        "orders": len(used),
        "spent": format(spent, "f"),
        "total": format(standing.total_epsilon, "f"),
        "days": standing.days,
        "expires": moment(standing.expires),
        "envelope": standing.to_json(),
    }


def read_envelope(path: Path) -> Standing:
    """Read an envelope from a file.

    Raises:
        NodeSettingsError: it is none.
    """
    return read_standing(path.read_text(encoding="utf-8"))


def give(folder: Path, standing: Standing, person: str, reason: str, key: Path | None) -> str:
    """Let a person agree to all orders within an envelope, from now on; return its id.

    Raises:
        NodeSettingsError: person or reason is empty, or the key cannot be read.
    """
    settings = load_settings(folder)
    word = word_of(settings, standing.id, "yes", person, reason)
    signed = say(word, approver_key(key or settings.folder / KEY), settings.identity)
    Approvals(settings.folder).stand(standing.id, kept_form(standing, signed.to_json()))
    law = load_policy(settings.folder / "policy").digest
    books_of(settings).note(given_entry(standing, law, int(time.time())))
    return standing.id


def withdraw(folder: Path, beginning: str) -> str:
    """End an envelope: no further order is accepted under it; return its id.

    Raises:
        UsageError: none that holds begins so, or several do.
    """
    settings = load_settings(folder)
    books = books_of(settings)
    held = Persons(settings, Approvals(settings.folder), books).envelopes()
    names = [n for n in held if n.startswith(beginning)] if len(beginning) >= FEWEST_DIGITS else []
    if len(names) != 1:
        listed = ", ".join(name[:12] for name in held) or "none"
        raise UsageError(f"no one standing approval begins with {beginning!r}; there is: {listed}")
    law = load_policy(settings.folder / "policy").digest
    books.note(withdrawn_entry(names[0], law, int(time.time())))
    return names[0]


def word_of(settings: NodeSettings, about: str, said: Said, person: str, reason: str) -> Statement:
    """Return a person's word at this moment."""
    return Statement(
        federation=settings.federation,
        party=settings.party,
        about=about,
        person=person,
        said=said,
        reason=reason,
        at=int(time.time()),
    )
