"""A node is a folder; `node.toml` says whose it is and whom it trusts.

node.toml  contract/*.toml  policy/*.cedar  keys/  data/  snapshots/
books.sqlite  outbox.sqlite  ingestion.sqlite  vault.json, where secrets are sealed
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.errors import NodeSettingsError
from clients.sources.declared import Source, sources_of
from federation import at_rest
from federation.errors import ForeignLedgerError, MalformedMessageError
from federation.key_sources import NONE, source_of
from federation.membership import THRESHOLD, Roster
from federation.roster_chain import history, open_roster, require_pin
from policies.contracts import DataContract, load_contract
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.canonical import digest_bytes
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.hpke import OpeningKey
from secure_compute.primitives.signature import SigningKey


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything `node.toml` says, with paths made absolute.

    pin:     the SHA-256 of the founding, shown at joining; no other chain of members is believed.
    address: `host:port` of the aggregator's fleet port.
    stream:  `host:port` to which this node opens its stream; None: it has Flower alone.
    capture: whether every outbound message is also written to `captures/`.
    colluding: fewest colluders that a secure sum must be able to bear, for this node to take part.
    threshold: fewest keyholders that may open a joint answer, for this node to take part.
    books:   where the account and the ledger lie: a file of the folder, or the URL of a PostgreSQL
             database, in which a password may stand.
    sources: where the rows of a table come from, by table, if not from a file in `data/`.
    at_rest: where the key comes from that secrets of the folder are sealed under; "none": they are
             not.
    named:   whether a data team may be told that this party is the one whose person is waited for.
    """

    folder: Path
    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction
    federation: str
    aggregator: PartyId
    address: str
    ca: Path
    pin: str
    capture: bool
    books: Path | str = field(repr=False)
    colluding: int = 1
    threshold: int = THRESHOLD
    stream: str | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    named: bool = False
    at_rest: str = NONE

    @property
    def identity(self) -> SigningKey:
        """The key this node signs its words with."""
        return SigningKey(_secret(self.folder / "keys" / "identity.key"))

    @property
    def next_identity(self) -> Path:
        """Where a new identity key lies until the roster names it; see `rotation`."""
        return self.folder / "keys" / "identity.next"

    @property
    def old_identity(self) -> Path:
        """Where the identity key of before lies until a quorum has seen the change; see there."""
        return self.folder / "keys" / "identity.old"

    @property
    def identities(self) -> tuple[SigningKey, ...]:
        """The keys that sign for this node: the one it has, and a new one after it."""
        is_rotating = self.next_identity.exists()
        new = (SigningKey(_secret(self.next_identity)),) if is_rotating else ()
        return (self.identity, *new)

    @property
    def opening(self) -> OpeningKey:
        """The key that opens what is sent to this node.

        Raises:
            NodeSettingsError: it is missing.
        """
        return OpeningKey(_secret(self.folder / "keys" / "opening.key"))

    @property
    def next_opening(self) -> Path:
        """Where a new opening key lies until the roster names it; see `rotation`."""
        return self.folder / "keys" / "opening.next"

    @property
    def openings(self) -> tuple[OpeningKey, ...]:
        """The keys that open what is sent to this node: the one it has, and a new one after it."""
        is_rotating = self.next_opening.exists()
        new = (OpeningKey(_secret(self.next_opening)),) if is_rotating else ()
        return (self.opening, *new)

    def chain(self) -> bytes:
        """Return the chain of epochs as it lies in the folder, unverified.

        Raises:
            NodeSettingsError: it is missing.
        """
        return _read(self.folder / "roster.bin")

    def epochs(self) -> tuple[Roster, ...]:
        """Return the roster at every epoch, the founding first, verified under the pin."""
        return tuple(epoch.roster for epoch in history(self.chain(), self.pin))

    def roster(self) -> Roster:
        """Return the roster at its last epoch, verified under the pin.

        Raises:
            NodeSettingsError: it is missing, of another federation, or no chain at all.
            UntrustedRosterError: its members did not sign it.
        """
        try:
            roster = open_roster(self.chain(), self.pin)
        except MalformedMessageError as why:
            raise NodeSettingsError(f"roster.bin: {why}") from why
        if roster.federation != self.federation:
            raise NodeSettingsError(
                f"roster.bin is of federation {roster.federation!r}, node.toml of "
                f"{self.federation!r}; restore the one that belongs here"
            )
        return roster

    def contracts(self) -> dict[str, DataContract]:
        """Return the contracts this node offers, by name."""
        return {contract.name: contract for contract, _ in self._contracts()}

    def contract_digests(self) -> dict[str, str]:
        """Return the SHA-256 of each contract's file, by the contract's name."""
        return {contract.name: digest_bytes(text.encode()) for contract, text in self._contracts()}

    def _contracts(self) -> list[tuple[DataContract, str]]:
        texts = [read_text(path) for path in sorted((self.folder / "contract").glob("*.toml"))]
        return [(load_contract(text), text) for text in texts]

    def table(self, contract: DataContract) -> Path:
        """Return where the rows of `contract` lie."""
        if contract.table in self.sources:
            return self.snapshot(contract.table)
        return self.folder / "data" / contract.table

    def snapshot(self, table: str) -> Path:
        """Return where this node keeps the rows of a table that come from a source."""
        return self.folder / "snapshots" / table


def load_settings(folder: Path) -> NodeSettings:
    """Read `node.toml`.

    Raises:
        NodeSettingsError: it is missing, or a field is missing or has another meaning.
        LockedVaultError: it says that the folder has a vault, and there is none.
    """
    path = folder / "node.toml"
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as why:
        raise NodeSettingsError(
            f"{folder} is no node: it has no node.toml; join a federation first"
        ) from why
    except (ValueError, RecursionError) as why:
        raise NodeSettingsError(f"{path} is not TOML: {why}") from why
    try:
        settings = _settings(folder.resolve(), value)
        at_rest.require_vault(settings.folder, settings.at_rest)
        return settings
    except KeyError as why:
        raise NodeSettingsError(f"{path} lacks {why}") from why
    except ForeignLedgerError as why:
        raise NodeSettingsError(f"{path}: books: {why}") from why
    except (ValueError, LocalProtocolError) as why:
        raise NodeSettingsError(f"{path}: {why}") from why
    except (TypeError, AttributeError) as why:
        raise NodeSettingsError(f"{path}: a field has the wrong type; join again") from why


def _settings(folder: Path, value: Mapping[str, Any]) -> NodeSettings:
    return NodeSettings(
        folder=folder,
        party=PartyId(value["party"]),
        organisation=value["organisation"],
        role=Role(value["role"]),
        jurisdiction=Jurisdiction(value["jurisdiction"]),
        federation=value["federation"],
        aggregator=PartyId(value["aggregator"]["party"]),
        address=value["aggregator"]["address"],
        ca=folder / value["aggregator"]["ca"],
        pin=require_pin(value["pin"]),
        capture=bool(value.get("capture", False)),
        books=_books(value.get("books"), folder / "books.sqlite"),
        colluding=_colluding(value.get("colluding", 1)),
        threshold=_threshold(value.get("keys", {}).get("threshold", THRESHOLD)),
        stream=_stream(value["aggregator"].get("stream")),
        sources=sources_of(value.get("sources", {}), folder),
        named=_named(value.get("approvals", {}).get("named", False)),
        at_rest=_at_rest(value.get("at_rest", {}).get("key", NONE)),
    )


def _books(text: object, file: Path) -> Path | str:
    if text is None:
        return file
    from federation.ledger.places import place_of  # which knows databases

    return place_of(text, file)


def _at_rest(value: object) -> str:
    source = source_of(value)
    return NONE if source is None else source.text


def _colluding(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("colluding is a whole number of at least 1")
    return value


def _named(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("approvals.named is true or false")
    return value


def _threshold(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 2:
        raise ValueError("keys.threshold is a whole number of at least 2")
    return value


def _stream(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value.rpartition(":")[2].isdecimal()):
        raise ValueError("stream is HOST:PORT, where the aggregator's streams are opened")
    return value


def read_text(path: Path) -> str:
    """Return the text that an operator wrote.

    Raises:
        NodeSettingsError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as why:
        raise NodeSettingsError(f"{path} is not UTF-8 text; write it again") from why


def _secret(path: Path) -> bytes:
    return at_rest.opened(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as why:
        raise NodeSettingsError(f"{path} is missing; restore it or join again") from why
