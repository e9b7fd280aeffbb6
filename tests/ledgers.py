"""A small federation of ledgers in memory, whose parties witness one another."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from federation.ledger import notes, witness
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.export import Export, LogExport
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead, origin_of
from federation.ledger.store import Log, open_engine, reading, writing
from federation.ledger.trust import Trust
from federation.ledger.witness import WitnessRequest
from federation.membership import Member, Roster
from policies.budget.events import Gaussian, dumps
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.primitives.signature import SigningKey

FEDERATION = "demo"
NOW = 1_790_000_000
ROLES = {
    "cn": Role.WAREHOUSE,
    "eu": Role.MERCHANT,
    "br": Role.PAYMENT_PARTNER,
    "hub": Role.AGGREGATOR,
}
KEYS = {name: SigningKey(name.encode().ljust(32, b".")) for name in [*ROLES, "ana"]}
ROSTER = Roster(
    FEDERATION,
    1,
    tuple(
        Member(PartyId(name), f"Org {name}", role, Jurisdiction.CN, KEYS[name].verify_key)
        for name, role in {**ROLES, "ana": Role.ANALYST}.items()
    ),
)
TRUST = Trust.of(ROSTER)
EVENT = dumps(Gaussian(10))


def origin(name: str) -> str:
    return origin_of(FEDERATION, name)


def named_key(name: str) -> NamedKey:
    return NamedKey(origin(name), KEYS[name].verify_key)


def signed(name: str, size: int, root: bytes, key: SigningKey | None = None) -> SignedHead:
    """Return a head of anything, as the named party, or another key, signs it."""
    own = key or KEYS[name]
    note = notes.sign(Checkpoint(origin(name), size, root), own)
    return notes.open_note(note, NamedKey(origin(name), own.verify_key))


def limit(epsilon: str = "8", subjects: str = "customers", **changed: str) -> dict:
    return {
        "account": f"{subjects}\x1fcustomer\x1f2026-H1",
        "dataset": "orders",
        "subjects": subjects,
        "unit": "customer",
        "window": "2026-H1",
        "epsilon": epsilon,
        "delta": "0.000001",
        "failures": "0",
        **changed,
    }


def reserved(order: str, releases: int = 2, at: int = NOW, event: str = EVENT, **how: str) -> Entry:
    charge = {**limit(**how), "event": event, "releases": releases, "spare": 0}
    return Entry(EntryKind.RESERVED, at, order, {"charges": [charge]})


def settled(order: str, release: str, at: int = NOW, masked: int = 0) -> Entry:
    return Entry(EntryKind.SETTLED, at, order, {"release": release, "masked": masked})


def closed(order: str, at: int = NOW) -> Entry:
    return Entry(EntryKind.CLOSED, at, order)


def ordinary(order: str = "order-1") -> list[Entry]:
    """Return the entries of one order from approval to its end."""
    return [
        Entry(EntryKind.APPROVED, NOW, order, {"policy": "a" * 64, "reasons": []}),
        reserved(order),
        settled(order, "r0"),
        closed(order),
    ]


@dataclass
class Party:
    """One party with a log of its own, which it may lie about."""

    name: str
    key: SigningKey
    at: int = NOW
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = Log(open_engine("sqlite://"), origin(self.name), self.key)

    def append(self, entries: Sequence[Entry]) -> None:
        with writing(self.log.engine) as connection:
            self.log.append(connection, entries)

    def rotate(self, new: SigningKey) -> None:
        """The log goes on under another key, by the word of the one it has."""
        with writing(self.log.engine) as connection:
            assert self.log.rotate(connection, new.verify_key, self.at)
        self.go_on(new)

    def lose(self, new: SigningKey) -> None:
        """The log goes on under another key, and nobody has the one of before."""
        self.go_on(new)
        with writing(self.log.engine) as connection:
            self.log.replace(connection, KEYS[self.name].verify_key, self.at)

    def go_on(self, key: SigningKey) -> None:
        """Whoever writes the log has another key from now on, whatever the log says."""
        self.key, self.log = key, Log(self.log.engine, self.log.origin, key)

    def request(self, from_sizes: Sequence[int] | None = None) -> WitnessRequest:
        with writing(self.log.engine) as connection:
            note = self.log.checkpoint(connection)
            size = self.log.size(connection)
            sizes = self.log.shown(connection, 16) if from_sizes is None else from_sizes
            proofs = {s: self.log.consistency(connection, s, size) for s in sizes if 0 < s < size}
        return WitnessRequest(note, proofs)

    def witness(self, other: "Party", *, is_blind: bool = False) -> None:
        """Look at `other`'s head, write it down, cosign it; a blind witness does only the last."""
        shown = other.request()
        with writing(self.log.engine) as connection:
            if not is_blind:
                key = NamedKey(other.log.origin, other.key.verify_key)
                self.log.vouch(connection, shown, key, self.at)
        line = witness.cosign(shown.note, self.log.origin, self.key, self.at)
        size = notes.read(shown.note).checkpoint.size
        with writing(other.log.engine) as connection:
            other.log.keep_cosignature(connection, size, self.log.origin, line)

    def export(self) -> LogExport:
        """Return the log as it stands, signed to its end."""
        with writing(self.log.engine) as connection:
            self.log.checkpoint(connection)
            found = self.log.exported(connection, TRUST)
        assert found is not None
        return found

    def size(self) -> int:
        with reading(self.log.engine) as connection:
            return self.log.size(connection)


def founded() -> dict[str, Party]:
    """Return the parties of the federation, with a few entries each, witnessed by all others."""
    parties = {name: Party(name, KEYS[name]) for name in ROLES}
    for name, party in parties.items():
        party.append(ordinary(f"order-of-{name}"))
    witness_all(parties)
    return parties


def witness_all(parties: dict[str, Party]) -> None:
    for party in parties.values():
        for other in parties.values():
            if other is not party:
                other.witness(party)


def export(parties: dict[str, Party]) -> Export:
    return Export(FEDERATION, tuple(party.export() for party in parties.values()))


def exchange(whole: Export, log: LogExport) -> Export:
    """Return `whole` with `log` in the place of the log of that origin."""
    return replace(
        whole, logs=tuple(log if one.origin == log.origin else one for one in whole.logs)
    )
