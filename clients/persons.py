"""What persons of this party have said about orders, as the node may rely on it.

A word on one order is a signed file (`clients.consents`). An envelope (`clients.standing`) counts
while the node's own log says that it was given and not that it was withdrawn; the log also says
which orders were accepted under it and what each may cost, so that neither a restart nor a copy of
the folder that was put back gives anything back: witnesses know the log.

    approved   order ""     standing=ID                        given
    approved   order ORDER  standing=ID epsilon=… delta=…      an order was accepted under it
    approved   order ORDER  consent=DIGEST                     a person said yes to this order
    refused    order ""     standing=ID, kind `withdrawn`      withdrawn
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from clients.approvals import Approvals
from clients.books import Books
from clients.consents import Statement, read_word
from clients.errors import NodeSettingsError
from clients.settings import NodeSettings
from clients.standing import Asked, Standing, Use, outside, standing_from_json
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.succession import KINDS
from policies.budget.events import spell
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import NotCanonicalError
from secure_compute.primitives.signature import VerifyKey

log = logging.getLogger(__name__)

WITHDRAWN: Final = "withdrawn"

Said: TypeAlias = Literal["yes", "no", "nothing"]


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said; `tokens` name it in the log."""

    said: Said
    tokens: tuple[str, ...] = ()


NOTHING: Final = Word("nothing")


@dataclass(frozen=True, slots=True)
class Kept:
    """An envelope with the word of the person who gave it."""

    standing: Standing
    word: Statement


@dataclass(slots=True)
class _Logged:
    """What the log says of envelopes; read: how many of its entries were taken in.

    keys: those that the node gave up.
    """

    read: int = 0
    given: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    uses: dict[str, dict[str, Use]] = field(default_factory=dict)
    keys: list[VerifyKey] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        """The entry counts."""
        self.read += 1
        if entry.kind in KINDS:
            self.keys.append(VerifyKey(str(entry.body["previous"])))
        if entry.kind not in {EntryKind.APPROVED, EntryKind.REFUSED}:
            return
        facts = _facts(entry)
        name = facts.get("standing")
        if name is None:
            return
        if entry.kind is EntryKind.REFUSED:
            if entry.body["kind"] == WITHDRAWN:
                self.withdrawn.add(name)
        elif not entry.order:
            self.given.add(name)
        else:
            use = Use(entry.at, Decimal(facts["epsilon"]), Decimal(facts["delta"]))
            self.uses.setdefault(name, {}).setdefault(entry.order, use)


class Persons:
    """The words of one party's persons.

    turn: held while an order is judged and its acceptance is written down, so that two orders
          never spend the same rest of an envelope.
    """

    def __init__(self, settings: NodeSettings, approvals: Approvals, books: Books) -> None:
        self._settings = settings
        self._approvals = approvals
        self._books = books
        self._logged = _Logged()
        self.turn = threading.RLock()

    def word_on(self, asked: Asked) -> Word:
        """Return what a person said about an order, or about all within an envelope."""
        said = self._own_word(asked.order.id)
        if said.said != "nothing":
            return said
        with self.turn:
            return self._standing_word(asked)

    def _standing_word(self, asked: Asked) -> Word:
        order, logged = asked.order.id, self._log()
        for name, uses in logged.uses.items():
            if order in uses:  # accepted under it before; it counts once
                return Word("yes", _tokens(name, uses[order]))
        for name, kept in self.envelopes().items():
            uses = logged.uses.get(name, {})
            if not outside(kept.standing, asked, list(uses.values())):
                use = Use(0, asked.epsilon or Decimal(0), Decimal(asked.order.delta))
                return Word("yes", _tokens(name, use))
        return NOTHING

    def envelopes(self) -> Mapping[str, Kept]:
        """Return the envelopes that hold, by id: given, not withdrawn, and signed by their person.

        One that cannot be read is left out, and said so in this node's log file.
        """
        logged, found = self._log(), {}
        for name, content in self._approvals.standing().items():
            if name not in logged.given or name in logged.withdrawn:
                continue
            try:
                found[name] = self.read(name, content)
            except NodeSettingsError as why:
                log.warning("standing approval %s: %s", name[:12], why)
        return found

    def read(self, name: str, content: bytes) -> Kept:
        """Return the envelope in a file, with its person's word verified.

        Raises:
            NodeSettingsError: it is damaged, or its person did not sign it.
        """
        try:
            value = canonical.decode(content)
        except NotCanonicalError as why:
            raise NodeSettingsError("it is damaged; let its person give it anew") from why
        match value:
            case {"envelope": dict(envelope), "word": dict(signed), **rest} if not rest:
                standing = standing_from_json(envelope)
                word = self._read_word(canonical.encode(signed))
                if name == standing.id == word.about and word.said == "yes":
                    return Kept(standing, word)
        raise NodeSettingsError("it is not what its person signed; let it be given anew")

    def uses(self, name: str) -> Sequence[Use]:
        """Return the orders that were accepted under an envelope."""
        return list(self._log().uses.get(name, {}).values())

    def _own_word(self, order: str) -> Word:
        content = self._approvals.answered(order)
        if content is None:
            return NOTHING
        word = self._read_word(content)
        if word.about != order:
            raise NodeSettingsError(f"approvals/{order[:12]}….word is about another order")
        return Word(word.said, (f"consent={canonical.digest_bytes(content)}",))

    def _read_word(self, content: bytes) -> Statement:
        own, earlier = self._settings, self._log().keys
        return read_word(content, own.identity.verify_key, own.party, own.federation, earlier)

    def _log(self) -> _Logged:
        with self.turn:
            for entry in self._books.entries(self._logged.read):
                self._logged.take(entry)
            return self._logged


def kept_form(standing: Standing, word: Mapping[str, JSON]) -> bytes:
    """Return the file in which an envelope is kept, with its person's signed word."""
    return canonical.encode({"envelope": standing.to_json(), "word": word})


def given_entry(standing: Standing, policy: str, at: int) -> Entry:
    """Return the entry by which an envelope begins to count."""
    return Entry(
        EntryKind.APPROVED, at, "", {"policy": policy, "reasons": [f"standing={standing.id}"]}
    )


def withdrawn_entry(name: str, policy: str, at: int) -> Entry:
    """Return the entry after which an envelope counts no more."""
    body: dict[str, JSON] = {"policy": policy, "kind": WITHDRAWN, "reasons": [f"standing={name}"]}
    return Entry(EntryKind.REFUSED, at, "", body)


def _tokens(name: str, use: Use) -> tuple[str, ...]:
    return (f"standing={name}", f"epsilon={spell(use.epsilon)}", f"delta={spell(use.delta)}")


def _facts(entry: Entry) -> dict[str, str]:
    reasons = entry.body["reasons"]
    said = [str(reason) for reason in reasons] if isinstance(reasons, list | tuple) else []
    return dict(reason.split("=", 1) for reason in said if "=" in reason)
