"""Whether a node's folder is one that a node can start from; looking at it changes nothing.

`sound` reads what people write: settings, keys, roster, law, contracts, tables. `check` also reads
what the node itself wrote, as the next start would find it: the books are only looked at, and the
tables are looked through in memory. What a start writes down, writes `clients.worker.build`.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from clients.books import Books
from clients.books_log import NOWHERE
from clients.certificate import require_shown
from clients.errors import NodeSettingsError
from clients.ingestion import foreseen
from clients.outbox import require_readable
from clients.policy import load_packs, load_policy
from clients.regaining import is_due
from clients.rehearsal import Rehearsal
from clients.rosters import LEAVING, has_said, require_member, require_stayed
from clients.settings import NodeSettings
from clients.tables import conform_table, marks_of, require_snapshots
from federation import at_rest
from federation.ledger.epochs import require_known
from federation.ledger.notes import origin_of
from federation.membership import Roster
from policies.budget.account import scope_of, scopes_of
from policies.budget.units import require_own_files
from policies.contracts import DataContract
from policies.engine import Law
from policies.law.packs import Pack
from policies.parties import Jurisdiction
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.node_keys import load_node_key


@dataclass(frozen=True, slots=True)
class Sound:
    """What a folder says, every part of it checked."""

    roster: Roster
    contracts: Mapping[str, DataContract]
    law: Law
    packs: Mapping[Jurisdiction, Pack]


def sound(settings: NodeSettings) -> Sound:
    """Return what people wrote into the folder.

    Raises:
        NodeSettingsError: a file is missing or unreadable.
        PolicyError: a contract or the policy is malformed, or a table is not what it promises.
        FederationError: the roster is not the federation's.
        LocalProtocolError: the key for the transport is missing or is no such key.
        BadCertificateError: what the node would show on its stream is not good.
    """
    roster, contracts = settings.roster(), settings.contracts()
    require_member(settings, roster)
    require_snapshots(settings)
    for name, contract in contracts.items():
        scope_of(name, contracts.values())
        conform_table(contract, settings.table(contract))
    files = {c.table: marks_of(settings, c) for c in contracts.values()}
    require_own_files(contracts.values(), files)
    _require_transport(settings)
    policy = settings.folder / "policy"
    return Sound(roster, contracts, load_policy(policy), load_packs(policy))


def check(settings: NodeSettings) -> None:
    """Return if a node would start from the folder; no byte of it changes.

    Raises:
        NodeSettingsError, PolicyError, FederationError, LocalProtocolError: see `sound`; or a
            file that the node wrote is none of its own, it has another key since it wrote it, or it
            has said that it leaves.
        LostBooksError: the identity key was lost, and so are the books.
        BrokenBooksError: the books do not say what the log beside them says.
        ForkedRosterError, OlderRosterError: the log knows another roster.
    """
    books = _books(settings)
    require_stayed(settings, settings.roster(), books.entries())  # first: it gets no certificates
    contracts = sound(settings).contracts
    if is_due(settings, time.time):
        raise NodeSettingsError(
            f"{settings.party} has another identity key since its last start; run it once, which "
            "lets its ledger go on under that key, and check it then"
        )
    books.reconcile()
    require_known(books.entries(), settings.epochs())
    require_readable(settings.folder / "outbox.sqlite")
    windows = foreseen(contracts.values(), books.windows())
    for name in contracts:
        books.require_kinds(scopes_of(name, contracts.values(), windows))
    rehearsal = Rehearsal(settings.folder, contracts.values(), SystemEntropy(), books)
    for contract in contracts.values():
        rehearsal.look(contract, settings.table(contract), windows)


def is_leaving(settings: NodeSettings) -> bool:
    """Return whether the node's operator wants it to leave, and it has said so to the others.

    Refused by the aggregator, it has left: who is let go is told no newer roster. Whoever did not
    ask for that is not ended by a refusal.
    """
    if not (settings.folder / LEAVING).exists():
        return False
    return has_said(settings, settings.roster(), _books(settings).entries())


def _books(settings: NodeSettings) -> Books:
    origin = origin_of(settings.federation, settings.party)
    words = (origin, settings.identity, time.time)
    return Books.existing(settings.books, *words) or Books(NOWHERE, *words)


def _require_transport(settings: NodeSettings) -> None:
    load_node_key(settings.folder / "keys" / "flower", at_rest.FILES)
    try:
        ssl.create_default_context(cafile=settings.ca)
    except OSError as why:  # an SSLError is one too
        raise NodeSettingsError(
            f"{settings.ca} is missing or holds no certificate; ask the aggregator for its ca.crt"
        ) from why
    require_shown(settings)
