"""The statements of accounts, drawn up from the books within one transaction."""

from collections.abc import Iterable, Sequence

from sqlalchemy.engine import Connection

from clients import books_accounts
from clients.books_accounts import Holding, Order
from policies.budget.account import Scope
from policies.budget.events import Event
from policies.budget.statement import Statement, draw_up, lifetime


def statements(connection: Connection, scopes: Sequence[Scope]) -> list[Statement]:
    """Return one statement per account, also for those of `scopes` never charged yet."""
    known = {scope.account: [scope] for scope in scopes}
    stated = books_accounts.stated(connection, books_accounts.accounts(connection))
    for account, limits in stated.items():
        known[account] = [*known.get(account, ()), *limits]
    held = books_accounts.held(connection, known)
    taken = books_accounts.orders(connection, known)
    return [
        _stated(known[account], held[account], _ever(account, known, taken))
        for account in sorted(known)
    ]


def _stated(scopes: Sequence[Scope], held: Holding, ever: Sequence[Event] | None) -> Statement:
    latest = {scope.dataset: scope for scope in reversed(scopes)}
    strictest = books_accounts.strictest(list(latest.values()))
    return draw_up(strictest, list(latest), held.spent, held.pending, held.releases, ever)


def _ever(account: str, known: Iterable[str], taken: Sequence[Order]) -> Sequence[Event] | None:
    """Return what all windows of these subjects hold; None where they have only this one."""
    whose = _subjects(account)
    windows = {other for other in known if _subjects(other) == whose}
    if windows == {account}:
        return None
    return lifetime((order.order_id, order.event) for order in taken if order.account in windows)


def _subjects(account: str) -> str:
    """Return the key of an account without its window."""
    return account.rpartition("\x1f")[0]
