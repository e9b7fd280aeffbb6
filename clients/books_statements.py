"""The statements of accounts, drawn up from the books within one transaction."""

from collections.abc import Iterable, Mapping, Sequence

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
    several = _sharing(known)
    taken = books_accounts.orders(connection, known)
    return [
        _stated(
            known[account],
            held[account],
            _ever(several.get(account), taken),
            [order for order in taken if order.account == account],
        )
        for account in sorted(known)
    ]


def _stated(
    scopes: Sequence[Scope],
    held: Holding,
    ever: Sequence[Event] | None,
    taken: Sequence[Order],
) -> Statement:
    latest = {scope.dataset: scope for scope in reversed(scopes)}
    strictest = books_accounts.strictest(list(latest.values()))
    fixed = len(taken) < 2 and all(order.whole for order in taken)
    return draw_up(
        strictest, list(latest), held.spent, held.pending, held.releases, ever, fixed=fixed
    )


def _ever(accounts: frozenset[str] | None, taken: Sequence[Order]) -> Sequence[Event] | None:
    """Return what `accounts` hold together; None where there is only one."""
    if accounts is None:
        return None
    return lifetime((order.order_id, order.event) for order in taken if order.account in accounts)


def _sharing(accounts: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Return, for accounts whose subjects have several, all accounts of these subjects.

    Whatever the window or the kind of unit: they are the same people.
    """
    groups: dict[str, set[str]] = {}
    for account in accounts:
        groups.setdefault(account.partition("\x1f")[0], set()).add(account)
    return {
        account: frozenset(group)
        for group in groups.values()
        for account in group
        if len(group) > 1
    }
