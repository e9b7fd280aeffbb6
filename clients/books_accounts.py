"""What accounts hold, read from and written to the tables of the books.

Every function works within the transaction of its caller. Nothing is added up here: an account is
the list of its events, each with how often it left and how often it still may.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clients.books_tables import closings as closed
from clients.books_tables import limits, lines, reservations, returns, settlements, tallies
from policies.budget.account import Asked, Charge, Scope
from policies.budget.events import Event, Repeated, dumps, loads, spell
from policies.contracts import UnitKind
from policies.errors import UnitMismatchError

spelt = lru_cache(maxsize=4096)(dumps)
parsed = lru_cache(maxsize=4096)(loads)


@dataclass(frozen=True, slots=True)
class Line:
    """How often one kind of event left an account, and how often it still may."""

    line: int
    account: str
    event: str
    spent: int
    pending: int

    def moved(self, spent: int, pending: int) -> "Line":
        """Return the line after so many more of each."""
        return Line(self.line, self.account, self.event, self.spent + spent, self.pending + pending)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one account holds."""

    lines: tuple[Line, ...] = ()

    @property
    def spent(self) -> tuple[Event, ...]:
        """What has left the node."""
        return tuple(Repeated(parsed(line.event), line.spent) for line in self.lines if line.spent)

    @property
    def pending(self) -> tuple[Event, ...]:
        """What open reservations may still let leave."""
        return tuple(
            Repeated(parsed(line.event), line.pending) for line in self.lines if line.pending
        )

    @property
    def releases(self) -> int:
        """How many releases have left the node."""
        return sum(line.spent for line in self.lines)


EMPTY: Final = Holding()

_TALLY: Final = sa.insert(tallies)
_DRAW: Final = sa.insert(lines)
_STATE: Final = sa.insert(limits)
_LAST_LINE: Final = sa.select(sa.func.max(lines.c.line))

_later: Final = tallies.alias("later")
_NEWEST: Final = (
    sa.select(sa.func.max(_later.c.number)).where(_later.c.line == lines.c.line).scalar_subquery()
)
_LINES: Final = sa.select(
    lines.c.line, lines.c.account, lines.c.event, tallies.c.spent, tallies.c.pending
).where(tallies.c.line == lines.c.line, tallies.c.number == _NEWEST)
_OF_ACCOUNTS: Final = _LINES.where(
    lines.c.account.in_(sa.bindparam("accounts", expanding=True))
).order_by(lines.c.line)
_OF_ORDER: Final = _LINES.add_columns(reservations.c.releases).where(
    reservations.c.line == lines.c.line, reservations.c.order_id == sa.bindparam("order")
)


def held(connection: Connection, accounts: Iterable[str]) -> Mapping[str, Holding]:
    """Return what each of `accounts` holds; one that was never charged holds nothing."""
    wanted = list(accounts)
    found: dict[str, list[Line]] = {account: [] for account in wanted}
    for row in connection.execute(_OF_ACCOUNTS, {"accounts": wanted}):
        found[row[1]].append(Line(*row))
    return {account: Holding(tuple(own)) for account, own in found.items()}


def lines_of(connection: Connection, order_id: str) -> list[tuple[Line, int]]:
    """Return the lines the order is charged to, as they stand, and what was set aside in each."""
    found = connection.execute(_OF_ORDER, {"order": order_id})
    return [(Line(*row), releases) for *row, releases in found]


def accounts(connection: Connection) -> list[str]:
    """Return the accounts that were ever charged, sorted."""
    found = connection.execute(sa.select(lines.c.account).distinct().order_by(lines.c.account))
    return [row[0] for row in found]


def write(connection: Connection, number: int, changed: Sequence[Line]) -> None:
    """Let `changed` hold from log entry `number` on; lines that are new come into being."""
    if changed:
        values = [
            {"line": line.line, "number": number, "spent": line.spent, "pending": line.pending}
            for line in changed
        ]
        connection.execute(_TALLY, values)


def with_new_lines(
    connection: Connection, known: Mapping[str, Holding], charges: Sequence[Charge]
) -> list[Line]:
    """Return the line of each charge, in their order; missing ones are made, holding nothing."""
    found = {(line.account, line.event): line for own in known.values() for line in own.lines}
    keys = [(charge.scope.account, spelt(charge.event)) for charge in charges]
    missing = [key for key in keys if key not in found]
    if missing:
        first = connection.execute(_LAST_LINE).scalar_one() or 0
        made = [Line(first + place, *key, 0, 0) for place, key in enumerate(missing, 1)]
        connection.execute(
            _DRAW,
            [{"line": line.line, "account": line.account, "event": line.event} for line in made],
        )
        found |= {(line.account, line.event): line for line in made}
    return [found[key] for key in keys]


# -- limits ----------------------------------------------------------------------------------------

_newer: Final = limits.alias("newer")
_STATED: Final = (
    sa.select(
        limits.c.account,
        limits.c.dataset,
        limits.c.subjects,
        limits.c.unit,
        limits.c.time_window,
        limits.c.epsilon,
        limits.c.delta,
        limits.c.failures,
    )
    .where(
        limits.c.account.in_(sa.bindparam("accounts", expanding=True)),
        limits.c.number
        == sa.select(sa.func.max(_newer.c.number))
        .where(_newer.c.account == limits.c.account, _newer.c.dataset == limits.c.dataset)
        .scalar_subquery(),
    )
    .order_by(limits.c.dataset)
)


def stated(connection: Connection, accounts: Iterable[str]) -> Mapping[str, list[Scope]]:
    """Return, per account, the limit that each dataset sharing it stated last."""
    wanted = list(accounts)
    found: dict[str, list[Scope]] = {account: [] for account in wanted}
    for account, *row in connection.execute(_STATED, {"accounts": wanted}):
        found[account].append(_scope(*row))
    return found


_OTHERS: Final = (
    sa.select(limits.c.subjects, limits.c.unit, limits.c.account)
    .distinct()
    .where(limits.c.subjects.in_(sa.bindparam("subjects", expanding=True)))
    .order_by(limits.c.account)
)


def require_kinds(connection: Connection, scopes: Iterable[Scope]) -> None:
    """Return if nothing was taken from the subjects of `scopes` in another kind of unit than now.

    Raises:
        UnitMismatchError: something was; a second account would forget it.
    """
    units = {scope.subjects: scope.unit for scope in scopes}
    known = connection.execute(_OTHERS, {"subjects": list(units)})
    others = {row[2]: (row[0], row[1]) for row in known if row[1] != units[row[0]]}
    for account, own in held(connection, others).items():
        if any(line.spent or line.pending for line in own.lines):
            subjects, unit = others[account]
            raise UnitMismatchError(
                f"releases about {subjects} were charged in the unit {unit}, and the contracts now "
                f"say {units[subjects]}, whose account would know nothing of them; let the "
                f"operator keep {unit} as the unit of {subjects}"
            )


def state(connection: Connection, number: int, scopes: Iterable[Scope]) -> None:
    """Remember limits that entry `number` stated for the first time."""
    rows = [_row(scope) | {"number": number} for scope in scopes]
    if rows:
        connection.execute(_STATE, rows)


def strictest(scopes: Sequence[Scope]) -> Scope:
    """Return the first of `scopes`, which share an account, under the smallest of all limits."""
    first = scopes[0]
    return Scope(
        dataset=first.dataset,
        subjects=first.subjects,
        unit=first.unit,
        window=first.window,
        epsilon=min(scope.epsilon for scope in scopes),
        delta=min(scope.delta for scope in scopes),
        failures=min(scope.failures for scope in scopes),
    )


@lru_cache(maxsize=1024)
def _scope(
    dataset: str,
    subjects: str,
    unit: UnitKind,
    window: str,
    epsilon: str,
    delta: str,
    failures: str,
) -> Scope:
    return Scope(
        dataset=dataset,
        subjects=subjects,
        unit=unit,
        window=window,
        epsilon=Decimal(epsilon),
        delta=Decimal(delta),
        failures=Decimal(failures),
    )


def _row(scope: Scope) -> dict[str, str]:
    return {
        "account": scope.account,
        "dataset": scope.dataset,
        "subjects": scope.subjects,
        "unit": scope.unit,
        "time_window": scope.window,
        "epsilon": spell(scope.epsilon),
        "delta": spell(scope.delta),
        "failures": spell(scope.failures),
    }


@dataclass(frozen=True, slots=True)
class Found:
    """Some accounts as they stand: what each holds, and what each dataset last stated of it."""

    held: Mapping[str, Holding]
    stated: Mapping[str, Sequence[Scope]]


def find(connection: Connection, charges: Iterable[Charge]) -> Found:
    """Return the accounts of `charges` as they stand."""
    wanted = [charge.scope.account for charge in charges]
    return Found(held(connection, wanted), stated(connection, wanted))


def asked(charge: Charge, found: Found) -> Asked:
    """Return `charge` beside what its account holds, under the smallest limit stated for it.

    That is of what each dataset sharing the account stated last, this one now.
    """
    account = charge.scope.account
    others = [s for s in found.stated[account] if s.dataset != charge.scope.dataset]
    scope = strictest([charge.scope, *others])
    whole = charge if scope == charge.scope else replace(charge, scope=scope)
    return Asked(whole, found.held[account].spent, found.held[account].pending)


# -- history ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """What one order took from an account or may still take.

    at: seconds since 1970, when it was set aside; 0 where nobody knows.
    whole: whether it may still make every release that it planned, or has.
    """

    account: str
    order_id: str
    at: int
    event: Event
    whole: bool


def _counted(table: sa.Table) -> "sa.ScalarSelect[int]":
    own = table.c.order_id == reservations.c.order_id
    return sa.select(sa.func.count()).where(own).scalar_subquery()


_ORDERS: Final = (
    sa.select(
        reservations.c.account,
        reservations.c.order_id,
        reservations.c.at,
        reservations.c.event,
        sa.case(
            (closed.c.order_id.is_(None), reservations.c.releases),
            else_=_counted(settlements) - _counted(returns),
        ),
        reservations.c.releases - reservations.c.spare,
    )
    .outerjoin(closed, closed.c.order_id == reservations.c.order_id)
    .where(reservations.c.account.in_(sa.bindparam("accounts", expanding=True)))
    .order_by(reservations.c.number)
)


def orders(connection: Connection, accounts: Iterable[str]) -> list[Order]:
    """Return what every order took from `accounts`, in the order they were set aside."""
    rows = connection.execute(_ORDERS, {"accounts": list(accounts)})
    return [
        Order(account, order_id, at, Repeated(parsed(event), count), count >= planned)
        for account, order_id, at, event, count, planned in rows
        if count
    ]
