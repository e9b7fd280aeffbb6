"""The accounts of the nodes whose folders lie on this machine, as their books hold them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from clients.books import Books
from clients.books_log import NOWHERE
from clients.settings import NodeSettings, load_settings
from experiments.errors import UsageError
from experiments.home import Home
from federation.ledger.notes import origin_of
from policies.budget.account import Scope, scopes_of
from policies.budget.events import Event
from policies.budget.statement import Statement
from policies.contracts import COMMERCIAL_LABEL, DataContract, UnitKind
from policies.errors import ForeignBooksError
from policies.parties import PartyId


@dataclass(frozen=True, slots=True)
class NodeBooks:
    """One node's settings, contracts and books. Nothing of it opens a table of rows.

    begun: whether it has books; a node that never ran has none yet, and has spent nothing.
    """

    settings: NodeSettings
    contracts: dict[str, DataContract]
    books: Books
    begun: bool = True

    @property
    def node(self) -> str:
        """The party."""
        return str(self.settings.party)

    @property
    def windows(self) -> dict[str, tuple[str, ...]]:
        """The windows that were opened, by subjects."""
        return dict(self.books.windows())

    def accounts(self) -> "Iterator[Account]":
        """Yield every account that a run could charge, or that a run has charged."""
        contracts = tuple(self.contracts.values())
        scopes = [
            scope
            for contract in contracts
            for scope in scopes_of(contract.name, contracts, self.windows)
        ]
        for statement in self.books.statement(scopes):
            scope = scope_of_statement(statement)
            history = tuple(self.books.history(scope.account))
            yield Account(self.node, scope, statement, history)


@dataclass(frozen=True, slots=True)
class Account:
    """One account of one node.

    scope:   the account under the smallest limit of all who share it.
    history: time and event of every run that was charged, oldest first.
    """

    node: str
    scope: Scope
    statement: Statement
    history: tuple[tuple[int, Event], ...] = field(repr=False)

    @property
    def held(self) -> tuple[Event, ...]:
        """Everything that is spent or pending."""
        return self.statement.events


def scope_of_statement(statement: Statement) -> Scope:
    """Return the account that a statement is about."""
    kind: UnitKind = "commercial" if statement.unit == COMMERCIAL_LABEL else _personal(statement)
    return Scope(
        dataset=statement.dataset,
        subjects=statement.subjects,
        unit=kind,
        window=statement.window,
        epsilon=Decimal(repr(statement.limit)),
        delta=Decimal(repr(statement.delta)),
        failures=statement.failures_limit,
    )


def _personal(statement: Statement) -> UnitKind:
    return "order" if statement.unit == "order" else "customer"


def open_books(folder: Path) -> NodeBooks:
    """Open the books of the node in `folder` to look at them, whether it runs or not.

    Nothing is written: books that were never begun are empty ones in memory.

    Raises:
        ForeignBooksError: what lies there is no account book of this version.
    """
    settings = load_settings(folder)
    origin = origin_of(settings.federation, settings.party)
    try:
        found = Books.existing(settings.books, origin, settings.identity, time.time)
    except ForeignBooksError as why:
        raise ForeignBooksError(f"{settings.party}: {why}") from why
    books = found or Books(NOWHERE, origin, settings.identity, time.time)
    return NodeBooks(settings, settings.contracts(), books, begun=found is not None)


def without_books(home: Home) -> list[str]:
    """Return the data nodes that have no books yet, in roster order."""
    return [books.node for books in all_books(home) if not books.begun]


def all_books(home: Home) -> Iterator[NodeBooks]:
    """Yield the books of every data node whose folder lies here, in roster order."""
    for member in home.holders():
        if home.node(member.party).exists():
            yield open_books(home.node(member.party))


def elsewhere(home: Home) -> list[str]:
    """Return the data nodes whose folders do not lie here, in roster order."""
    return [m.party for m in home.holders() if not home.node(m.party).exists()]


def books_here(home: Home, party: PartyId) -> NodeBooks:
    """Open the books of a node that an order asks; errors: `open_books`.

    Raises:
        UsageError: its folder lies elsewhere.
    """
    folder = home.node(party)
    if not folder.exists():
        raise UsageError(
            f"the folder of {party} does not lie here, and what an order costs follows from its "
            "contract and its books: look where it lies, or ask, and every node says its own price"
        )
    return open_books(folder)


def all_accounts(home: Home) -> list[Account]:
    """Return every account of every data node, in roster order."""
    return [account for books in all_books(home) for account in books.accounts()]
